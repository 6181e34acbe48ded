"""What a federated model is worth on all members' rows, and what every member brings to it.

v(S): the mean over all members, weighed by their rows, of the rank IC by period of the model that the members of S and
the lead train together, which everybody hears and scores its own rows by. So nobody earns by what the model does for
its own rows alone. A coalition that is below the agreed threshold, or of two, trains nothing, for each would read the
other's update: it is worth what nobody is, the same mean of models that all members trained by themselves. Every
coalition begins at weights of its own, so that no difference of two sums is one member's update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.rounds import Learner, Rounds, aggregate, take_part
from vfl.federated.secure_sum import SumTerms, add, total
from vfl.federated.updates import RING

__all__ = ["Judged", "Plan", "Valued", "open_value", "open_values", "tell_value", "tell_values"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

_FRACTION = 24
"""Fractional bits of a correlation; rows stay below 2**32 for a million members."""


@dataclass(frozen=True)
class Judged:
    """Rank ICs of one member's own rows (T,), NaN where a period has none, and how many rows stand behind each (T,)."""

    ics: F64
    rows: NDArray[np.int64]


class Valued(Protocol):
    """A member's part that a valuation needs."""

    def begin(self, seed: int) -> tuple[Learner, F64]:
        """A learner of its rows, and everyone's first weights of this seed."""

    def judged(self, weights: F64) -> Judged:
        """Its own rows under common weights."""

    def alone(self) -> Judged:
        """Its own rows under a model that it trained by itself."""


@dataclass(frozen=True)
class Plan:
    """What is trained and opened, in order. rounds: the training of everybody. periods: reported ones.

    whole: every sum takes all of its members, so that whoever is lost ends the valuation, and it can be made again.
    """

    rounds: Rounds
    lead: str
    periods: int
    whole: bool = False

    def __post_init__(self) -> None:
        if self.rounds.model.personal_head:
            raise ValueError(
                "a personalised head is trained at home and makes no common model to value: set model.personal_head = "
                "false, or value nobody"
            )

    @property
    def sums(self) -> SumTerms:
        """Of the values: over all members, however few train in a round, so with a threshold of all."""
        model = self.rounds.model
        if self.whole:
            return replace(self.rounds.sums, threshold=len(self.rounds.members))
        everyone = model.model_copy(update={"threshold": 0, "sampled": 1.0}).agreed_for(len(self.rounds.members))
        return replace(self.rounds.sums, threshold=max(everyone.threshold, model.threshold))

    @property
    def others(self) -> tuple[str, ...]:
        """The players of the game: the lead is in every coalition."""
        return tuple(name for name in self.rounds.members if name != self.lead)

    @property
    def coalitions(self) -> tuple[frozenset[str], ...]:
        """Those that train: with the lead at least the agreed threshold."""
        least = max(self.rounds.model.threshold - 1, 2)
        sizes = range(least, len(self.others) + 1)
        return tuple(frozenset(group) for size in sizes for group in combinations(self.others, size))

    def training(self, place: int) -> Rounds:
        """The training of a coalition: its own members, threshold and first sum."""
        inside = {self.lead, *self.coalitions[place]}
        members = tuple(name for name in self.rounds.members if name in inside)
        model = self.rounds.model.model_copy(update={"threshold": 0, "sampled": 1.0})
        # a coalition is no larger than what the run agreed on, so its sums have as many members at least
        held = model.agreed_for(len(members))
        least = len(members) if self.whole else max(held.threshold, min(self.rounds.model.threshold, len(members)))
        return replace(
            self.rounds,
            model=held.model_copy(update={"threshold": least}),
            members=members,
            hearers=self.rounds.members,
            first=self.rounds.first + place * (model.rounds + 1),
            before=place * model.rounds,
            whole=len(self.coalitions) * model.rounds,
        )

    def evaluation(self, place: int) -> int:
        """The number of the sum that a coalition's value opens by; the last is that of nobody."""
        return self.rounds.first + place * (self.rounds.model.rounds + 1) + self.rounds.model.rounds

    def seed(self, place: int) -> int:
        """Of a coalition's first weights: by who is in it, since its place is another's in a valuation that is made
        again without a member.
        """
        return self.rounds.seed_of(f"value/{','.join(sorted(self.coalitions[place]))}")

    def values(self, opened: Sequence[F64]) -> dict[frozenset[str], F64]:
        """The game: every coalition of the others, those too small to train worth as much as nobody."""
        nobody, trained = opened[-1], dict(zip(self.coalitions, opened, strict=False))
        every = (frozenset(g) for size in range(len(self.others) + 1) for g in combinations(self.others, size))
        return {coalition: trained.get(coalition, nobody) for coalition in every}


def tell_values(plan: Plan, me: str, part: Valued, stream: SecretStream) -> Flow[dict[frozenset[str], F64]]:
    """Member: train in every coalition that it is in, follow the others, and bring its rank ICs to each value.

    Learns: the averages of every training; of every coalition the value in each period, a mean over members.
    Leaks: as :func:`vfl.federated.rounds.take_part`, for each training that it is in; of its rank ICs, a part of sums
    over at least the agreed threshold of members. Where one member alone has rows in a period, the value is its own.
    Model: a member may tell any ICs and any number of rows, and so decide a value; one beyond 1 is refused.
    Source: Shapley 1953; docs/groups.md#what-members-bring.
    """
    opened = []
    for place in range(len(plan.coalitions)):
        learner, initial = part.begin(plan.seed(place))
        trained = yield from take_part(plan.training(place), me, learner, initial, stream)
        judged = part.judged(trained.weights)
        opened.append((yield from tell_value(plan.sums, me, plan.evaluation(place), judged, stream)))
    last = plan.evaluation(len(plan.coalitions))
    opened.append((yield from tell_value(plan.sums, me, last, part.alone(), stream)))
    return plan.values(opened)


def open_values(plan: Plan, gone: set[str]) -> Flow[dict[frozenset[str], F64]]:
    """Coordinator: open every training's sums and every value.

    Learns: as :func:`vfl.federated.rounds.aggregate`, for each training; every value.
    Leaks: to every member the averages and the values.
    Model: as :func:`vfl.federated.secure_sum.total`.
    Source: Shapley 1953; docs/groups.md#what-members-bring.
    """
    opened = []
    for place in range(len(plan.coalitions) + 1):
        if place < len(plan.coalitions):
            yield from aggregate(plan.training(place), gone)
        opened.append((yield from open_value(plan.sums, plan.evaluation(place), plan.periods, gone)))
    return plan.values(opened)


def tell_value(terms: SumTerms, me: str, number: int, judged: Judged, stream: SecretStream) -> Flow[F64]:
    """Member: bring its own rows' rank ICs to one value by period, of everybody's.

    Learns: the mean over members in each period, weighed by their rows, and the sum of the rows.
    Leaks: nothing else of its ICs; where it alone has rows in a period, the value is its own. Of one that is in this
        value and not in another of the same models, the two sums' difference is its own rows and ICs.
    Model: as :func:`tell_values`.
    Source: docs/groups.md#what-members-bring.
    """
    counted = np.isfinite(judged.ics) & (judged.rows > 0)
    rows = np.where(counted, judged.rows, 0)
    weighed = np.where(counted, np.clip(judged.ics, -1.0, 1.0), 0.0) * rows
    values = np.concatenate([RING.encode(weighed, _FRACTION), RING.wrap(rows.astype(np.int64))])
    made = yield from add(terms, me, number, terms.members, values, stream)
    return _checked(_mean(made.elements), terms.aggregator)


def open_value(terms: SumTerms, number: int, periods: int, gone: set[str]) -> Flow[F64]:
    """Coordinator: open one value by period.

    Learns: the mean over members in each period, and the sum of the rows.
    Leaks: to every member the same.
    Model: as :func:`vfl.federated.secure_sum.total`.
    Source: docs/groups.md#what-members-bring.
    """
    made = yield from total(terms, number, terms.members, 2 * periods, gone)
    return _checked(_mean(made.elements), "")


def _checked(ics: F64, peer: str) -> F64:
    """``ics``, where they can be means of correlations."""
    if (np.abs(ics[np.isfinite(ics)]) > 1 + 1e-6).any():
        raise RemoteProtocolError(
            "a mean of rank ICs is beyond 1: a member told what no rank ICs add up to, or the coordinator changed the "
            "sum, so these values are nobody's",
            peer,
        )
    return ics


def _mean(elements: U64) -> F64:
    """ICs by period, NaN where nobody has one."""
    half = len(elements) // 2
    weighed, rows = RING.decode(elements[:half], _FRACTION), RING.signed(elements[half:]).astype(np.float64)
    mean: F64 = np.divide(weighed, rows, out=np.full(half, np.nan), where=rows > 0)
    return mean
