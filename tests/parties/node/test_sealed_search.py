"""A search inside the encrypted protocol: both roles' own code against the twin, what it opens, and after a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.terms import EvaluationTerms
from parties.agreement.text import agreement_lines
from parties.node.joint import SplitJoint
from parties.node.search import searched_in_the_clear
from tests.faults.consortium import MemoryStore
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.node.test_sealed_models import Cold
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, Cut, consortium, cut_at, panel
from vfl.walk.result import TrainingResult
from vfl.walk.search import Choice, SearchTerms

SPACE = {
    "top": Choice(values=("linear", "residual")),
    "top_learning_rate": Choice(low=1e-3, high=0.3, log=True),
    "source_learning_rate": Choice(low=0.02, high=1.0, log=True),
}
REPORTED = 5


class Searching(Cold):
    """The rig with a store for each trial, and the label party's last joint model."""

    joint: SplitJoint

    def context(self, name: str) -> Any:
        held = super().context(name)
        held.boundary = lambda: None
        held.trial_checkpoints = lambda trial: self.stores.setdefault(f"{name}/{trial}", MemoryStore())
        return held

    def attempt(self, relay: Any = None) -> TrainingResult:
        made = SplitJoint.__init__

        def remember(joint: SplitJoint, *arguments: Any) -> None:
            made(joint, *arguments)
            self.joint = joint

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SplitJoint, "__init__", remember)
            return super().attempt(relay)

    def oracle(self) -> NDArray[np.float64]:
        panels = [panel(x) for x in self.values.values()]
        return searched_in_the_clear(self.terms, panels, self.panel, self.random_start(), self.noise())


def terms(**search: Any) -> Agreement:
    base = consortium("none", limit=6, warmup=2, warmup_epochs=1, embedding_width=1).terms
    calendar = base.calendar.model_copy(update={"periods": tuple(f"p{t}" for t in range(PERIODS))})
    wanted = SearchTerms(**{"trials": 5, "source_trials": 2, "space": SPACE, **search})
    return base.model_copy(
        update={"calendar": calendar, "search": wanted, "evaluation": EvaluationTerms(first=f"p{REPORTED}")}
    )


@pytest.fixture(scope="module")
def whole() -> Searching:
    """A run without a crash."""
    run = Searching(terms())
    result, oracle = run.attempt(), run.oracle()
    assert np.array_equal(np.isnan(result.scores), np.isnan(oracle))
    assert np.nanmax(np.abs(result.scores - oracle)) / np.nanstd(oracle) < 2e-3
    return run


def test_a_searched_run_equals_its_twin_and_reports_later_periods_alone(whole: Searching) -> None:
    result = whole.joint.restore()
    assert result is not None
    assert np.isnan(result.scores[:REPORTED]).all()
    assert np.isfinite(result.scores[REPORTED]).sum() == whole.panel.universe[REPORTED].sum()
    tried = whole.joint.tried
    assert [(t.stage, t.number) for t in tried] == [("source", 0), ("source", 1), *(("top", k) for k in range(5))]
    assert whole.joint.chosen in [t.terms for t in tried if t.stage == "top"]
    assert tried[0].terms.source_learning_rate != tried[1].terms.source_learning_rate
    best = max(tried[:2], key=lambda t: t.value).terms
    assert {t.terms.source_learning_rate for t in tried[2:]} == {best.source_learning_rate}


def test_every_trial_of_the_source_layer_is_charged_and_the_top_models_cost_nothing(whole: Searching) -> None:
    plain = Searching(terms(trials=1, source_trials=0, space=SPACE))
    plain.attempt()
    for name in whole.values:
        extra = (whole.counted(name) - plain.counted(name)).reshape(PERIODS, ENTITIES)
        assert not extra[REPORTED:].any()
        assert extra[:REPORTED].max() == 2 * (1 + whole.model.epochs) == whole.terms.search_openings
        assert whole.counted(name).max() <= whole.terms.row_limit
        trials = [c for c in whole.charges[name] if "/trial-" in c.label]
        assert {c.label.rpartition("/")[0] for c in trials} == {"train-1/trial-0", "train-1/trial-1"}
    many = Searching(terms(trials=9))
    many.attempt()
    assert [c.label for c in many.charges["a"]] == [c.label for c in whole.charges["a"]]


@pytest.mark.parametrize(("kind", "number"), [("MaskedSum", 5), ("MaskedSum", 25), ("MaskedSum", 50)])
def test_a_search_goes_on_after_a_crash_with_the_same_choice(whole: Searching, kind: str, number: int) -> None:
    run = Searching(terms())
    with pytest.raises(Cut):
        run.attempt(cut_at(kind, number))
    result = run.attempt()
    assert run.joint.chosen == whole.joint.chosen
    oracle = whole.oracle()
    assert np.nanmax(np.abs(result.scores - oracle)) / np.nanstd(oracle) < 2e-3
    for name in run.values:
        np.testing.assert_array_equal(run.counted(name), whole.counted(name))
    again = run.joint.restore()
    assert again is not None
    np.testing.assert_array_equal(again.scores, result.scores)


def test_a_restart_without_all_records_cannot_choose(whole: Searching) -> None:
    store = whole.stores["l"]
    lost = next(name for name in store.names() if name.startswith("open-"))
    kept = store.kept.pop(lost)
    assert SplitJoint(whole.context("l"), whole.model, whole.panel).restore() is None
    store.kept[lost] = kept
    trial = whole.stores["l/1"].kept.pop("trained")
    assert SplitJoint(whole.context("l"), whole.model, whole.panel).restore() is None
    whole.stores["l/1"].kept["trained"] = trial


def test_the_budget_says_how_many_trials_there_may_be_before_anyone_signs() -> None:
    told = {"trials": 7, "source_trials": 1}
    base = agreement({"embedding_width": 1, "epochs": 1}, limit_per_row=6, contribution="none").model_dump(mode="json")
    base["calendar"] |= {
        "periods": ["p0", "p1"],
        "period_ends": ["2026-01-01T00:00:00Z"] * 2,
        "cutoffs": ["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"],
    }
    base["evaluation"] = {"first": "p1"}
    space = {key: choice.model_dump() for key, choice in SPACE.items()}
    signed = Agreement.model_validate(base | {"search": {**told, "space": space}})
    assert signed.possible_source_trials == 2
    assert (signed.search_openings, signed.schedule_limit) == (2, 4)
    assert Agreement.model_validate_json(signed.canonical()).run_id == signed.run_id
    said = "\n".join(agreement_lines(signed))
    assert "7 top models over top, top_learning_rate, on sums that are opened anyway" in said
    assert "trained 1 times over source_learning_rate: up to 2 openings of each row before p1" in said
    assert "has room for 2 trials of the source layer" in said
    plain = Agreement.model_validate(base)
    assert b'"search"' not in plain.canonical()
    assert "Search" not in "\n".join(agreement_lines(plain))
    for change, why in (
        ({"search": {"source_trials": 3, "space": space}}, "allows 2 trials"),
        ({"search": told | {"space": space}, "evaluation": {}}, "name that period"),
        ({"search": told | {"space": space}, "evaluation": {"first": "p0"}}, "name that period"),
        ({"search": {"space": space}, "model": {"kind": "ridge"}}, "split network"),
    ):
        with pytest.raises(ValidationError, match=why):
            Agreement.model_validate(base | change)
