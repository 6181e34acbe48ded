"""Trials on opened sums: they are the training again, open nothing, and choose by nothing that is reported."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.node.search import Found, search_source, search_top
from psi.flow import Flow, Progress, run_alone, run_local
from tests.vfl.models.test_train import COLUMNS, consortium, seeds
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.factors.significance import search_evidence
from vfl.models.judging import Judge
from vfl.models.split.replay import replay, reported
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.models.split.twin import PlainSource, initial_weights
from vfl.terms import FixedPoint, SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, prequential
from vfl.walk.search import Choice, SearchTerms, with_choices

TERMS = SplitModel(
    embedding_width=2, hidden=4, members=2, epochs=1, batch_rows=64, warmup_epochs=2, source_learning_rate=0.1
)
WALK = WalkForward(horizon=1, warmup=2)
FIRST = 9
TRIALS = 200 if "ENTENTE_LONG" in os.environ else 80  # that are noise
SEARCH = SearchTerms(trials=6, space={"top_learning_rate": Choice(low=1e-4, high=0.1, log=True)})
Sums = dict[int, NDArray[np.float64]]


def trained(features: list[FeaturePanel], held: LabelPanel) -> tuple[TrainingResult, tuple[Step, ...], Sums]:
    steps = tuple(prequential(TERMS, WALK, held.known_from, held.label, held.universe, 2, 0))
    weights = initial_weights(seeds(3), COLUMNS, 2, FixedPoint())
    sums: Sums = {}
    source = PlainSource([p.rows for p in features], weights, width=2)
    result = run_alone(walk_forward(source, LabelHead(TERMS, 2), steps, held, opened=sums))
    return result, steps, sums


def searched(held: LabelPanel, steps: tuple[Step, ...], sums: Sums, terms: SearchTerms = SEARCH) -> Found:
    return run_alone(search_top(terms, TERMS, Judge(held, WALK, FIRST), WALK, held, steps, sums))


@pytest.fixture(scope="module")
def run() -> tuple[LabelPanel, TrainingResult, tuple[Step, ...], Sums]:
    features, held = consortium()
    return held, *trained(features, held)


def test_a_replay_of_the_same_terms_is_the_training(run: Any) -> None:
    held, result, steps, sums = run
    head, again = replay(TERMS, WALK, held, steps, sums)
    np.testing.assert_array_equal(again.scores, result.scores)
    np.testing.assert_array_equal(again.losses, result.losses)
    assert again.heads == result.heads
    assert head.terms == TERMS
    _, other = replay(with_choices(TERMS, {"top": "linear", "hidden": 3.0}), WALK, held, steps, sums)
    assert (other.scores[np.isfinite(other.scores)] != result.scores[np.isfinite(result.scores)]).all()
    kept = reported(result, FIRST)
    assert np.isnan(kept.scores[:FIRST]).all()
    np.testing.assert_array_equal(kept.scores[FIRST:], result.scores[FIRST:])


def test_a_search_takes_the_best_it_may_know_and_repeats(run: Any) -> None:
    held, result, steps, sums = run
    found, again = searched(held, steps, sums), searched(held, steps, sums)
    assert [t.number for t in found.tried] == list(range(6))
    assert found.tried[0].terms == TERMS
    assert len({t.terms.top_learning_rate for t in found.tried}) == 6
    assert found.chosen == max(found.tried, key=lambda t: t.value).number
    assert [(t.terms, t.value) for t in again.tried] == [(t.terms, t.value) for t in found.tried]
    np.testing.assert_array_equal(found.result.scores, again.result.scores)
    np.testing.assert_array_equal(found.tried[0].ics[FIRST:], Judge(held, WALK, FIRST).ics(result.scores)[FIRST:])
    other = searched(held, steps, sums, SEARCH.model_copy(update={"seed": 1}))
    assert other.tried[1].terms != found.tried[1].terms
    drawn = searched(held, steps, sums, SEARCH.model_copy(update={"sampler": "random"}))
    assert len(drawn.tried) == 6


def test_no_choice_sees_a_reported_label(run: Any) -> None:
    held, _, steps, sums = run
    generator = np.random.default_rng(4)
    changed = held.label.copy()
    unknown = np.isfinite(changed) & (np.arange(len(changed))[:, None] + 1 > FIRST)
    changed[unknown] = 5 * generator.normal(size=int(unknown.sum()))
    found, blind = (searched(p, steps, sums) for p in (held, replace(held, label=changed)))
    assert [t.value for t in blind.tried] == [t.value for t in found.tried]
    assert blind.chosen == found.chosen
    known = held.label.copy()
    known[FIRST - 2] = generator.normal(size=known.shape[1])
    assert [t.value for t in searched(replace(held, label=known), steps, sums).tried] != [t.value for t in found.tried]
    with pytest.raises(Exception, match="nothing to choose by"):
        run_alone(search_top(SEARCH, TERMS, Judge(held, WALK, 2), WALK, held, steps, sums))


def test_failed_and_pruned_trials_are_recorded(run: Any) -> None:
    held, _, steps, sums = run
    broken = SearchTerms(
        trials=12,
        space={"top": Choice(values=("mlp", "residual")), "hidden": Choice(values=(0, 4))},
    )
    found = searched(held, steps, sums, broken)
    failed = [t for t in found.tried if t.state == "failed"]
    assert len(found.tried) == 12
    assert failed
    assert all(np.isnan(t.value) and np.isnan(t.ics).all() for t in failed)
    assert found.tried[found.chosen].state == "complete"
    diverging = SEARCH.model_copy(update={"space": {"top_learning_rate": Choice(low=1e300, high=1e307)}, "trials": 2})
    wild = searched(held, steps, sums, diverging)
    assert [t.state for t in wild.tried] == ["complete", "failed"]
    pruning = SEARCH.model_copy(update={"trials": 14, "prune_after": 3})
    watched: list[Progress] = []
    flow = search_top(pruning, TERMS, Judge(held, WALK, FIRST), WALK, held, steps, sums)
    pruned = run_local({"label": flow}, watch=lambda _, progress: watched.append(progress))["label"]
    stopped = [t for t in pruned.tried if t.state == "pruned"]
    assert len(pruned.tried) == 14
    assert stopped
    assert all(np.isfinite(t.ics).sum() == 3 for t in stopped)
    assert [(p.done, p.unit) for p in watched] == [(k, "trials") for k in range(1, 15)]


def test_an_overfit_search_is_caught_by_name() -> None:
    """Labels are noise; the search is real; what it took at its word is named."""
    rng = np.random.default_rng(11)
    periods, entities = 26, 12
    shape = (periods, entities)
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    none = FeaturePanel((), np.zeros((*shape, 0)), np.ones(shape, dtype=bool), never, never)
    known = np.repeat(np.arange(1, periods + 1)[:, None], entities, axis=1)
    held = LabelPanel(none, rng.normal(size=shape), known, np.ones(shape, dtype=bool))
    steps = tuple(prequential(TERMS, WALK, known, held.label, held.universe, 2, 0))
    sums = {step.number: rng.normal(size=(len(step.rows), 2)) for step in steps}
    space = {
        "top": Choice(values=("linear", "mlp", "residual")), "hidden": Choice(low=1, high=24),
        "top_learning_rate": Choice(low=1e-3, high=0.5, log=True), "members": Choice(low=1, high=2),
    }  # fmt: skip
    terms = SearchTerms(trials=TRIALS, sampler="random", space=space)
    flow = search_top(terms, TERMS, Judge(held, WALK, periods - 1), WALK, held, steps, sums)
    found: Found = run_alone(flow)
    assert len(found.tried) == TRIALS
    best = found.tried[found.chosen]
    assert best.value > 0.04, "the best of so many looks like skill"
    evidence = search_evidence([t.ics for t in found.tried], found.chosen, horizon=1, n_trials=TRIALS, what="rank IC")
    assert evidence.warned("overfit")
    assert evidence.value("search", "deflated_sharpe") < 0.95


def test_source_trials_are_judged_before_the_reported_periods(run: Any) -> None:
    held, result, _, _ = run
    space = {"source_learning_rate": Choice(low=0.01, high=1.0, log=True)}
    terms = SearchTerms(trials=1, source_trials=4, space=space)
    seen: list[tuple[int, float]] = []

    def train(number: int, model: SplitModel) -> Flow[TrainingResult]:
        yield from ()
        seen.append((number, model.source_learning_rate))
        sign = 1.0 if number == 2 else -1.0
        return replace(result, scores=sign * np.where(np.isfinite(result.scores), np.nan_to_num(held.label), np.nan))

    best, tried = run_alone(search_source(terms, TERMS, Judge(held, WALK, FIRST), train))
    assert [number for number, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == TERMS.source_learning_rate
    assert best == tried[2].terms
    assert terms.openings(TERMS) == 8


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"space": {"embedding_width": {"low": 1, "high": 4}}}, "change what is opened"),
        ({"space": {"hidden": {"low": 4}}}, "low and high"),
        ({"space": {"hidden": {"low": 4, "high": 2}}}, "below high"),
        ({"space": {"top_learning_rate": {"low": 0, "high": 2, "log": True}}}, "above 0"),
        ({"space": {"loss": {"values": ["softmax"]}}}, "static data"),
        ({"source_trials": 2}, "source_learning_rate"),
        ({"space": {"source_decay": {"low": 0, "high": 1}}}, "search.trials need a key"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(terms: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        SearchTerms.model_validate(terms)
