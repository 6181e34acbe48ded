"""Trees that begin at linear scores of heavy tails: as far as the ring holds, a run does what its twin does."""

from __future__ import annotations

import numpy as np
import pytest

from psi.flow import Flow, LocalProtocolError, run_local
from tests.vfl.models.trees.rig import Consortium, Observed, columns
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.records import StepRecord
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.score_range import RangeVerdict
from vfl.models.sealed.twin import IntegerTwin as Line
from vfl.models.sealed.twin import SealedRangeError
from vfl.models.trees.linear_start import LinearStart, linear_model, linear_twin
from vfl.models.trees.twin import TreesRangeError, run_twin
from vfl.models.trees.walk import grow_steps
from vfl.terms import FixedPoint
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static
from vfl.walk.schedule import Step

ROWS = 120
TERMS = TreesModel(
    depth=2, trees=2, candidates=3, smallest_leaf=5, rate=0.5, reg_lambda=5.0, init_score="linear", score_limit=32
)
EVERY = np.arange(ROWS)


def test_a_start_beyond_64_deviations_is_grown_on_as_in_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are fitted reach thousands of deviations, in both; those that are predicted stay within a score."""
    tails = (np.random.default_rng(3).standard_t(1, size=50) * 200).clip(-30_000, 30_000)
    assert np.abs(tails).max() > 1_000
    made, steps, y, begun, start = begun_at(np.concatenate([tails, -tails]))
    observed = Observed().watch(monkeypatch)
    grown(made, steps, y, begun)
    twin = made.twin(opened=observed.opened)
    scores = run_twin(twin, steps, lambda step: y[step.rows], [(EVERY, start)])
    assert made.sides["label"].chosen == twin.chosen
    assert np.array_equal(made.opened_scores(), twin.total)
    assert np.abs(made.scores[len(steps) - 1] - scores[-20:]).max() <= 3 * 2.0**-TERMS.score_fraction


def test_residuals_that_run_into_their_count_end_both_with_one_sentence() -> None:
    made, steps, y, begun, start = begun_at(np.full(100, 5.0))
    with pytest.raises(LocalProtocolError, match=r"more than a label deviation a row: raise model\.init_alpha"):
        grown(made, steps, y, begun)
    with pytest.raises(TreesRangeError, match=r"more than a label deviation a row: raise model\.init_alpha"):
        run_twin(made.twin(), steps, lambda step: y[step.rows], [(EVERY, start)])


@pytest.mark.parametrize("beyond", [(40,), (40, -40)])
def test_one_score_beyond_its_limit_ends_both_with_one_sentence(beyond: tuple[int, ...]) -> None:
    """Rows that wrap would come as others within the limit; two of opposite signs are seen as well as one."""
    made, steps, y, begun, start = begun_at(np.zeros(100), beyond)
    said = []
    with pytest.raises(LocalProtocolError) as ran:
        grown(made, steps, y, begun)
    said.append(str(ran.value))
    with pytest.raises(TreesRangeError) as twin:
        run_twin(made.twin(), steps, lambda step: y[step.rows], [(EVERY, start)])
    said.append(str(twin.value))
    assert said[0] == said[1]
    assert "leaves +-32 deviations of the label, and would wrap: raise model.score_limit" in said[0]
    verdicts = [heard.message for heard in made.heard if isinstance(heard.message, RangeVerdict)]
    assert [verdict.proof for verdict in verdicts] == [b""], "of the prediction that one bit opened"


def begun_at(
    fitted: np.ndarray, beyond: tuple[int, ...] = ()
) -> tuple[Consortium, list[Step], np.ndarray, dict[str, LinearStart], np.ndarray]:
    """100 rows that begin there and 20 predicted ones, near 0 or ``beyond``.

    Returns the schedule, labels, both holders' shares, and the start.
    """
    draw = np.random.default_rng(4)
    predicted = np.concatenate([beyond, draw.normal(size=20 - len(beyond))])
    start = np.rint(np.ldexp(np.concatenate([fitted, predicted]), 16)).astype(np.int64)
    made = Consortium({"a": columns(ROWS, 2, "a"), "b": columns(ROWS, 1, "b")}, columns(ROWS, 1, "own"), TERMS)
    steps = [s for s in refits_static(TERMS, ROWS, EVERY[:-20]) if s.kind == "train"]
    steps.append(Step(len(steps), "predict", 0, EVERY[-20:]))
    theirs = PRIME_RING.wrap(draw.integers(0, 2**58, size=ROWS))
    halves = {"label": PRIME_RING.sub(PRIME_RING.wrap(start), theirs), "a": theirs}
    begun = {
        name: LinearStart({0: StepRecord("s", 0, False, EVERY, {"scores": share})}) for name, share in halves.items()
    }
    return made, steps, draw.normal(size=ROWS), begun, start


def grown(made: Consortium, steps: list[Step], y: np.ndarray, begun: dict[str, LinearStart]) -> None:
    """All sides through the steps."""

    def label_party() -> Flow[None]:
        side = made.label_side(linear=begun["label"])
        yield from side.start()
        made.scores = yield from grow_steps(side, steps, lambda step: y[step.rows])
        yield from side.finish()

    run_local({
        "label": label_party(), "a": made.anchor_side(linear=begun["a"]).serve(), "b": made.feature_side("b").serve()
    }, relay=made.relay)  # fmt: skip


def test_what_no_run_can_hold_is_refused_by_name_and_the_remedy_is_the_line_s() -> None:
    fixed, model = FixedPoint(), linear_model(TERMS)
    features, step = np.full((ROWS, 1), 1 << fixed.feature_bits), Step(0, "predict", 0, EVERY)
    for deviations, refused in ((30_000, False), (33_000, True)):
        twin = Line(features, np.array([[deviations << WEIGHT_BITS]]), model, fixed)
        if refused:
            with pytest.raises(SealedRangeError, match="times what the ring holds"):
                linear_twin(twin, [step], lambda step: np.zeros(ROWS))
        else:
            ((_, held),) = linear_twin(twin, [step], lambda step: np.zeros(ROWS))
            assert (held == deviations << 16).all()
    made = Consortium({"a": columns(ROWS, 2, "a")}, columns(ROWS, 0, "own"), TERMS).twin()
    made.begin([(EVERY, np.full(ROWS, 40 << 16))])
    with pytest.raises(TreesRangeError, match=r"raise model\.init_alpha"):
        made.predict(step)
