"""Coalitions of a run of sealed trees through the nodes' own code: what they are worth, and going on after a cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.node.contribution_evidence import SentParts
from parties.node.trees_feature import TreesFeatureParty
from parties.node.trees_label import candidates_purpose
from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.faults.consortium import Crash
from tests.faults.test_resume import cut
from tests.faults.test_sealed_run import VALUED as SEALED
from tests.faults.test_trees_run import FEATURES, TERMS, Trees, check
from tests.parties.node.test_warm_start import ENTITIES, PERIODS
from vfl.models.sealed.coalitions import CoalitionNumbers
from vfl.models.sealed.columns import SealedLabels
from vfl.models.trees.twin import IntegerTwin, run_twin
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, resolved_at

VALUED = TERMS.model_copy(
    update={
        "openings": TERMS.openings.model_copy(update={"contribution": "moments"}),
        "calendar": SEALED.calendar,
        "model": TERMS.model.model_copy(update={"depth": 3, "trees": 3}),
    }
)
ICs = dict[frozenset[str], NDArray[np.float64]]


@dataclass
class ValuedTrees(Trees):
    """The same nodes, whose coalitions are valued."""

    numbers: list[Charge] = field(default_factory=list)
    valued_before: int = 0

    def party(self, name: str) -> TreesFeatureParty:
        party = super().party(name)
        party.context.agreement = self.terms
        party.numbers = OpeningBudget(
            PERIODS * ENTITIES,
            self.terms.row_limit,
            history=self.numbers,
            record=self.numbers.append,
            done="valued",
            others=lambda: np.full(PERIODS * ENTITIES, self.valued_before),
        )
        return party

    def value(self, scores: NDArray[np.float64], relay: Any = None) -> ICs:
        """One attempt at valuing coalitions, from what the stores hold."""
        self.attempts += 1
        name = f"value-{self.attempts}"
        sent = {party: SentParts(name) for party in FEATURES}
        flows: dict[str, Flow[Any]] = {party: self.party(party)._coalitions(name, sent[party]) for party in FEATURES}
        heard: list[bytes] = []

        def commit(share: NDArray[np.uint64]) -> bytes:
            return arrays_digest(bytes(32), {"ours": share})

        def hear(ours: NDArray[np.uint64], theirs: NDArray[np.uint64], values: bytes) -> None:
            heard.extend((commit(ours), values))

        label = self.label().coalition_ics(scores, name, commit, hear)
        found = run_local({"l": label, **flows}, relay=relay)["l"]
        committed, values = heard
        assert (sent["b"].numbers, sent["b"].sent) == (committed, {"numbers": hashlib.sha256(values).hexdigest()})
        assert not any(one.sent for name, one in sent.items() if name != "b"), "others have no part"
        return cast("ICs", found)


class _Watched(IntegerTwin):
    """Keeps every coalition's scores of what is predicted."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.found = np.full((len(self.coalitions), PERIODS * ENTITIES), np.nan)

    def predict(self, step: Step) -> NDArray[np.float64]:
        self.found[:, step.rows] = self.by_coalition[:, step.rows]
        return super().predict(step)


def in_the_clear(trees: ValuedTrees) -> ICs:
    """Pearson ICs of each coalition's scores with the label's ranks, by the twin."""
    model, walk, panel = cast("TreesModel", trees.terms.model), trees.terms.walk_forward, trees.panel
    columns = {name: trees.values[name].reshape(PERIODS * ENTITIES, -1) for name in FEATURES}
    columns["l"] = panel.features.rows
    purpose = candidates_purpose(trees.terms.initial_purpose)
    seeds = {name: trees.secret(name, purpose) for name in columns}
    twin = _Watched(columns, seeds, model, parties=FEATURES)
    steps = tuple(refits(model, walk, panel.known_from, panel.label, panel.universe))
    labels = SealedLabels(panel.label, resolved_at(walk, panel.known_from, panel.label, panel.universe))
    everyone = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows))
    found = {frozenset(one): scores for one, scores in zip(twin.coalitions, twin.found, strict=True)}
    found[frozenset(FEATURES)] = everyone
    kept = np.where(panel.universe, panel.label, np.nan)
    return {one: _ics(scores.reshape(PERIODS, ENTITIES), kept) for one, scores in found.items()}


def _ics(scores: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.full(PERIODS, np.nan)
    for period in range(PERIODS):
        rows = np.isfinite(scores[period]) & np.isfinite(labels[period])
        if rows.sum() >= 10:
            ranks, score = labels[period][rows].argsort().argsort(), scores[period][rows]
            found[period] = np.corrcoef(ranks, score)[0, 1] if np.ptp(score) else 0.0
    return found


@cache
def _trained() -> tuple[ValuedTrees, TrainingResult]:
    trees = ValuedTrees(VALUED)
    return trees, trees.attempt()


def trained() -> tuple[ValuedTrees, TrainingResult]:
    """Nodes after training, with stores of their own, and the factor."""
    trees, result = _trained()
    return deepcopy(trees), result


def test_every_coalition_is_worth_what_it_is_in_the_clear_and_again_after_a_cut_at_any_message() -> None:
    (trees, result), count = trained(), [0]
    check(trees, result, result)

    def relay(sender: str, receiver: str, message: Message) -> Message:
        count[0] += 1
        assert {sender, receiver} == {"l", "b"}, "only the label party and the anchor take part"
        return message

    first, clear = trees.value(result.scores, relay), in_the_clear(trees)
    assert set(first) == {frozenset(members) for size in range(4) for members in combinations(FEATURES, size)}
    for coalition, ics in clear.items():
        np.testing.assert_array_equal(np.isnan(first[coalition]), np.isnan(ics))
        np.testing.assert_allclose(first[coalition], ics, atol=0.02)
    assert len({round(float(np.nanmean(ics)), 3) for ics in first.values()}) == 8, (
        "no two coalitions are worth the same"
    )
    whole_messages, count[0] = count[0], 0
    again = trees.value(result.scores, relay)
    for coalition, ics in first.items():
        np.testing.assert_array_equal(again[coalition], ics)
    (cut_short, _), sent = trained(), list[bytes]()

    def cut_and_kept(after: int) -> Callable[[str, str, Message], Message]:
        stop = cut(after)

        def relay(sender: str, receiver: str, message: Message) -> Message:
            if isinstance(message, CoalitionNumbers):
                sent.append(message.values)
            return stop(sender, receiver, message)

        return relay

    for after in (whole_messages // 2, whole_messages - 3, count[0] - 2, count[0] - 1):
        with pytest.raises(Crash):
            cut_short.value(result.scores, cut_and_kept(after))
            pytest.fail(f"not cut after {after} messages")
    found = cut_short.value(result.scores, cut_and_kept(whole_messages))
    assert all(np.nanmax(np.abs(found[one] - first[one])) < 0.02 for one in first)
    assert len(set(sent)) == 1, "whenever it was cut, the same shares of the numbers went out"
    labels = [charge.label for charge in cut_short.numbers]
    valued = np.flatnonzero(np.isfinite(first[frozenset()]))
    assert sorted(labels) == sorted({f"numbers/{period}" for period in valued}), "each charged once"
    assert {charge.width for charge in cut_short.numbers} == {2 * 7}, "two numbers of each of 7 coalitions"


def test_a_training_that_is_cut_leaves_the_same_coalitions() -> None:
    trees, after, result = ValuedTrees(VALUED), 200, None
    while result is None:
        try:
            result = trees.attempt(cut(after))
        except Crash:
            after += 330
    assert trees.attempts > 2
    check(trees, result, trained()[1])
    clear = in_the_clear(trees)
    for coalition, ics in trees.value(result.scores).items():
        np.testing.assert_allclose(ics, clear[coalition], atol=0.02)


def test_numbers_that_opened_are_not_made_again_nor_past_the_agreed_number() -> None:
    """A label party that says it lost its record, and one that proposes the same rows in another run."""
    (trees, result), seen = trained(), list[str]()
    scores, trees.valued_before = result.scores, 1

    def relay(sender: str, receiver: str, message: Message) -> Message:
        seen.append(type(message).__name__)
        return message

    with pytest.raises(BudgetExceededError, match="were valued 1 times, which is the limit"):
        trees.value(scores, relay)
    assert "CoalitionNumbers" not in seen
    trees.valued_before = 0
    trees.value(scores, relay)
    assert "CoalitionNumbers" in seen
    del trees.stores["l"].kept["numbers"]
    with pytest.raises(RemoteProtocolError, match="made anew that were opened before"):
        trees.value(scores)
