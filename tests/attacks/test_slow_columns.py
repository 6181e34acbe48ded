"""Columns that keep their value: each period's score is another direction for a label party that cheats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.who_learns import label_lines
from parties.data.simulate import simulate
from parties.demo.homes import lay_out
from parties.node.home import NodeHome
from parties.node.own_data import read_own_data
from parties.node.slow_columns import slow_lines
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from psi.flow import Flow
from tests.vfl.models.sealed.rig import Consortium, columns
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.scales import SCORE_BITS, WEIGHT_BITS
from vfl.terms import OpeningTerms, SealedModel
from vfl.walk.schedule import Step

ENTITIES, PERIODS = 50, 4
TERMS = SealedModel(width=1, score_limit=16)


class Asking(Consortium):
    """A label party that trains and predicts as agreed, but for one column that it asks for in each period."""

    def label_side(self, **options: Any) -> Any:
        side = super().label_side(**options)
        given = side.predict

        def predict(step: Step) -> Flow[Any]:
            weight = side.blocks["a"].weight
            kept = weight.copy()
            if step.period > 1:
                more = np.zeros(weight.shape, dtype=np.int64)
                more[step.period - 2, 0] = 1 << WEIGHT_BITS
                weight[:] = PRIME_RING.add(weight, PRIME_RING.wrap(more))
            found = yield from given(step)
            weight[:] = kept
            return found

        side.predict = predict
        return side


def read(own: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """What the label party makes of the scores of four periods: three columns, in 2**-12."""
    made = Asking({"a": feature}, own, TERMS)
    labels = np.random.default_rng(0).normal(size=len(own))
    steps = [Step(0, "train", 0, np.arange(len(own)), len(own))]
    steps += [
        Step(1 + t, "predict", 1 + t, np.arange(t * ENTITIES, (t + 1) * ENTITIES)) for t in range(PERIODS)
    ]  # fmt: skip
    made.run(steps, labels)
    first, *later = (made.scores[1 + t] for t in range(PERIODS))
    return np.stack([(scores - first) * 2**12 for scores in later], axis=1)


def test_a_column_that_stands_still_is_read_whole_and_one_that_moves_is_not() -> None:
    still = np.tile(columns(ENTITIES, 3, "a"), (PERIODS, 1))
    own = columns(len(still), 0, "own")
    found = read(own, still)
    assert np.abs(found - still[:ENTITIES]).max() <= 4, "three columns of each row, from scores of 17 bits"
    moving = columns(len(still), 3, "b")
    found = read(own, moving)
    # the score moves with all columns, and no two periods are of one row
    assert np.abs(found - moving[:ENTITIES]).max() > 2**10


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[NodeHome, Agreement]:
    made = simulate(tmp_path_factory.mktemp("data"), entities=40, periods=20, parties=2, seed=7)
    settings = load_consortium(made.config)
    laid = lay_out(tmp_path_factory.mktemp("homes") / "out", settings, made.config.parent, made.data, 7)
    agreement = agreement_of(settings, laid.roster, datetime.now(UTC), timedelta(minutes=5))
    return NodeHome(laid.party(agreement.features[0].name)), agreement


def test_a_party_reads_before_it_signs_how_scores_compare_with_what_is_new_in_its_rows(home: Any) -> None:
    node, agreement = home
    panel = read_own_data(agreement, node.settings, node.folder).panel
    assert panel is not None
    line, numbers = slow_lines(agreement, panel, len(node.settings.party.columns))
    assert f"{SCORE_BITS} bits of a predicted row open" in line
    assert f"{min(1.0, SCORE_BITS / panel.row_bits):.0%} of what is new" in line
    periods, entities = panel.values.shape[:2]
    assert f"up to {periods} covariances of scores with this party's columns alone open, of {entities} ent" in numbers
    unvalued = agreement.model_copy(update={"openings": OpeningTerms(contribution="none")})
    (all_of_it,) = slow_lines(unvalued, replace(panel, row_bits=10.0), 1)
    assert "100% of what is new" in all_of_it
    assert not list(slow_lines(agreement, None, 1)), "the label party"
    assert any("column that keeps its value" in said for said in label_lines(agreement))
