"""Federated averaging: rounds of local training, of whose updates the average moves the common weights.

Source: McMahan, Moore, Ramage, Hampson and Aguera y Arcas, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS 2017.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, PeerLost, Progress, RemoteProtocolError, Send, UnattributedError
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.federated.messages import PlainUpdate, SumStart, SumTotal
from vfl.federated.robust import combined
from vfl.federated.secure_sum import SumTerms, Total, add, hear_total, next_of, tell, total
from vfl.federated.updates import RING, averaged, clipped, encoded, farthest
from vfl.federated_terms import FederatedRounds

__all__ = ["Learner", "Round", "Rounds", "Trained", "aggregate", "drawn", "take_part"]

F64 = NDArray[np.float64]


class Learner(Protocol):
    """A member's own training. What stays at home (a personalised head) it keeps for itself."""

    @property
    def rows(self) -> int:
        """Rows that it trains on: its weight in the average."""

    def train(self, weights: F64, number: int) -> F64:
        """Weights after the local epochs of round ``number``, begun at the common ``weights``."""


@dataclass(frozen=True)
class Rounds:
    """One training. members: who takes part, in agreed order. first: the number of its first sum in the session.

    hearers: who follows it, empty for the members alone. before, whole: rounds of earlier trainings, and of all, where
    several tell their progress as one; 0: this one is all.
    """

    model: FederatedRounds
    members: tuple[str, ...]
    aggregator: str
    run: str
    numbers: int
    first: int = 0
    hearers: tuple[str, ...] = ()
    before: int = 0
    whole: int = 0

    @property
    def sums(self) -> SumTerms:
        return SumTerms(self.members, self.aggregator, self.model.threshold, RING, self.run, self.hearers)

    def seed_of(self, training: str) -> int:
        """Of the first weights of one training of this run. Another run or training begins elsewhere: no difference of
        their first sums is the update of a member that is in one of them alone.
        """
        text = f"entente/federated/first/{self.run}/{self.model.seed}/{training}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def progress(self, done: int, names: Sequence[str], *, begins: bool = False) -> Progress:
        """How far the rounds are, with who is in the one that is done, or in the one that begins."""
        told = self.before + done, self.whole or self.model.rounds
        return Progress(*told, unit="rounds", names=tuple(names), begins=begins)

    def wanted(self, number: int) -> tuple[str, ...]:
        """Who trains in a round."""
        if self.model.sampled == 1:
            return self.members
        return drawn(self.members, self.model.taking_part(len(self.members)), self.run, self.first + number)


@dataclass(frozen=True)
class Round:
    """Who was in a round's average."""

    number: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """The common weights after the last round, and who took part in each."""

    weights: F64
    rounds: tuple[Round, ...] = field(default=())


def drawn(members: Sequence[str], count: int, run: str, number: int) -> tuple[str, ...]:
    """``count`` of the members, the same for everyone: nobody chooses who is drawn."""
    key = hashlib.sha256(f"entente/federated/drawn/{run}/{number}".encode()).digest()
    order = np.argsort(SecretStream(key).bits(64, len(members)), kind="stable")
    chosen = {members[place] for place in order[:count]}
    return tuple(name for name in members if name in chosen)


def take_part(rounds: Rounds, me: str, learner: Learner, initial: F64, stream: SecretStream) -> Flow[Trained]:
    """Member: train in every round that draws it, and follow the others.

    Learns: the average of each round's updates, over at least the agreed threshold of members, and who they are.
    Leaks: to the coordinator the same; where the agreed rule is no sum, this member's clipped updates, from which rows
    can be read. To whoever colludes with all other members of a round, this member's update.
    Model: as :func:`vfl.federated.secure_sum.add`. A poisoned update moves an average by its share of the clip at most
    where the rule is robust; where it is a sum, a member that breaks its own bound is seen only when the average is
    beyond what all bounds allow.
    Source: McMahan et al. 2017; docs/groups.md#rounds.
    """
    model, weights, kept = rounds.model, initial, []
    for number in range(model.rounds):
        wanted, sum_number = rounds.wanted(number), rounds.first + number
        update = learner.train(weights, number) - weights if me in wanted else None
        if model.rule == "sum":
            if update is None:
                said = yield from hear_total(rounds.sums, sum_number, wanted, rounds.numbers + 1)
            else:
                values = encoded(update, learner.rows, model, stream)
                said = yield from add(rounds.sums, me, sum_number, wanted, values, stream)
        else:
            said = yield from _shown(rounds, sum_number, wanted, update)
        weights = weights + _step(rounds, said)
        kept.append(Round(number, said.names))
        yield rounds.progress(number + 1, said.names)
    return Trained(weights, tuple(kept))


def aggregate(rounds: Rounds, gone: set[str]) -> Flow[tuple[Round, ...]]:
    """Coordinator: open each round's sum, without those who are ``gone``; who is lost on the way joins them.

    Learns: the average of each round's updates; where the agreed rule is no sum, every update.
    Leaks: to every member the average.
    Model: as :func:`vfl.federated.secure_sum.total`.
    Source: McMahan et al. 2017; docs/groups.md#rounds.
    """
    kept = []
    for number in range(rounds.model.rounds):
        wanted, sum_number = rounds.wanted(number), rounds.first + number
        if rounds.model.noise:
            # what it costs is kept before it opens: a coordinator that is killed then has counted it
            yield rounds.progress(number, [name for name in wanted if name not in gone], begins=True)
        if rounds.model.rule == "sum":
            made = yield from total(rounds.sums, sum_number, wanted, rounds.numbers + 1, gone)
        else:
            made = yield from _seen(rounds, sum_number, wanted, gone)
        kept.append(Round(number, made.names))
        yield rounds.progress(number + 1, made.names)
    return tuple(kept)


def _step(rounds: Rounds, said: Total) -> F64:
    """What an opened sum adds to the weights. Refuses one that honest members cannot have made."""
    try:
        step = averaged(said.elements, rounds.model)
    except MalformedError as error:
        raise RemoteProtocolError(f"the average: {error}", rounds.aggregator) from None
    length, most = float(np.linalg.norm(step)), farthest(rounds.model, len(said.names), rounds.numbers)
    if length > most:
        raise UnattributedError(
            f"the average of {', '.join(said.names)} has the norm {length:.3g}, and updates within "
            f"{rounds.model.section}.clip cannot exceed {most:.3g}: one of them did not clip its own, or the "
            "coordinator changed the sum; nothing shows which"
        )
    return step


def _shown(rounds: Rounds, number: int, wanted: Sequence[str], update: F64 | None) -> Flow[Total]:
    """A round whose updates the coordinator sees: this member's, and what was made of all."""
    to = rounds.aggregator
    if update is not None:
        yield from next_of(to, SumStart, number)
        values = RING.encode(clipped(update, rounds.model.clip), rounds.model.fraction_bits)
        yield Send(to, PlainUpdate(number, RING.pack(values)))
    return (yield from hear_total(rounds.sums, number, wanted, rounds.numbers + 1))


def _seen(rounds: Rounds, number: int, wanted: Sequence[str], gone: set[str]) -> Flow[Total]:
    """The coordinator's side of such a round."""
    terms, model = rounds.sums, rounds.model
    names = [name for name in wanted if name not in gone]
    terms.check_enough(names, "at the start")
    yield from tell(terms, SumStart(number, tuple(names)), names, gone)
    updates: dict[str, F64] = {}
    for name in names:
        try:
            if name not in gone:
                told = yield from next_of(name, PlainUpdate, number)
                values = RING.unpack(told.values, rounds.numbers)
                updates[name] = RING.decode(values, model.fraction_bits)
        except PeerLost:
            gone.add(name)
        except MalformedError as error:
            raise RemoteProtocolError(f"its update: {error}", name) from None
    present = tuple(name for name in names if name in updates)
    terms.check_enough(present, "after the updates")
    made = combined(np.stack([updates[name] for name in present]), model)
    elements = np.concatenate([RING.encode(made, model.fraction_bits), RING.wrap(np.array([1]))])
    yield from tell(terms, SumTotal(number, present, RING.pack(elements)), terms.hearers or terms.members, gone)
    return Total(present, elements)
