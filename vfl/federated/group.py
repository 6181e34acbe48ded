"""A group's encoder: its rounds, and that all members end with the same one, those too that were lost on the way.

Members tell each other the digest of what they hold before and after the rounds. Where as many as the agreed threshold,
and more than half, hold the same already, from an attempt that somebody did not come to the end of, nothing is trained
again: one of them passes it on, and who receives it checks it against the digest that the others told.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, PeerLost, Progress, RemoteProtocolError, Send, UnattributedError, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.messages import EncoderHeld, EncoderPassed, EncoderTold
from vfl.federated.rounds import Learner, Round, Rounds, aggregate, take_part
from vfl.federated.secure_sum import SumTerms

__all__ = [
    "Alike",
    "JointEncoder",
    "by_turns",
    "common_held",
    "encoder_seed",
    "hold_alike",
    "join_group",
    "serve_group",
    "told_held",
    "weights_digest",
]

F64 = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class JointEncoder:
    """The common weights, and who was in each round; nobody where they came from another member."""

    weights: F64
    rounds: tuple[Round, ...] = ()


def weights_digest(weights: F64) -> bytes:
    """SHA-256 of common weights, to the last bit."""
    return hashlib.sha256(weights.astype("<f8").tobytes()).digest()


def encoder_seed(rounds: Rounds, attempt: int) -> int:
    """Of the first weights of one attempt in one run."""
    return rounds.seed_of(f"encode/{attempt}")


def join_group(
    rounds: Rounds, me: str, learner: Learner, initial: F64, stream: SecretStream, held: F64 | None = None
) -> Flow[JointEncoder]:
    """Member: train the encoder with the others, or take the one that enough of them hold.

    held: what this member has of an earlier attempt that came to its end here.

    Learns: as :func:`vfl.federated.rounds.take_part`; which members hold the encoder of an earlier attempt.
    Leaks: as :func:`vfl.federated.rounds.take_part`; to whoever lost it, the encoder that all have trained.
    Model: as :func:`vfl.federated.rounds.take_part`. Members that end with different encoders, since a coordinator told
    them different averages, find out before they use any; who cannot compare with enough others has none.
    Source: McMahan et al. 2017; docs/groups.md#a-group-in-a-vertical-run.
    """
    training = _trained(rounds, me, learner, initial, stream)
    return (yield from hold_alike(rounds.sums, Alike(rounds.numbers), me, held, training))


def _trained(rounds: Rounds, me: str, learner: Learner, initial: F64, stream: SecretStream) -> Flow[JointEncoder]:
    found = yield from take_part(rounds, me, learner, initial, stream)
    return JointEncoder(found.weights, found.rounds)


@dataclass(frozen=True)
class Alike:
    """What members are to hold alike. numbers: of it. first: the number of its first message, which sets it apart from
    another such thing. name: what it is. told: by the coordinator, of what it is made.
    """

    numbers: int
    first: int = 0
    name: str = "encoder"
    told: str = "averages"


def hold_alike(
    sums: SumTerms, what: Alike, me: str, held: F64 | None, making: Flow[JointEncoder]
) -> Flow[JointEncoder]:
    """Member: what enough members hold of an earlier attempt, or else what ``making`` makes, the same at all of them.

    sums: whose members and threshold decide how many are enough.

    Learns: what ``making`` does, which nobody begins where enough hold it; who holds what came of an earlier attempt.
    Leaks: what ``making`` does; hashes of what came of it; to whoever lost it, that itself.
    Model: that of ``making``. Members that end with different things find out before they use any.
    Source: docs/groups.md#a-group-in-a-vertical-run.
    """
    others = [name for name in sums.members if name != me]
    mine = b"" if held is None else weights_digest(held)
    yield Send(sums.aggregator, EncoderTold(mine))
    for name in others:
        yield Send(name, EncoderHeld(what.first, mine))
    told = {me: mine}
    for name in others:
        told[name] = yield from told_held(name, what.first)
    common = common_held(sums, told)
    if common:
        making.close()
        return JointEncoder((yield from _passed_on(sums, what, me, held, told, common)))
    trained = yield from making
    digest = weights_digest(trained.weights)
    ends, away = {me: digest}, None
    for name in others:
        try:
            yield Send(name, EncoderHeld(what.first + 1, digest))
        except PeerLost as error:
            away = error
    for name in others:
        try:
            ends[name] = yield from told_held(name, what.first + 1)
        except PeerLost as error:
            away = error
    differing = sorted(name for name, one in ends.items() if one != digest)
    if differing:
        raise UnattributedError(
            f"the members end with different {what.name}s, {', '.join(differing)} with another than {me}: the "
            f"{what.told} that the coordinator told differ, or a member tells a hash that is not its own; nothing "
            "shows which"
        )
    if away is not None and len(ends) < _enough(sums):
        raise away
    return trained


def serve_group(rounds: Rounds, gone: set[str]) -> Flow[tuple[Round, ...]]:
    """Coordinator: open the sums of the rounds, unless enough members hold the encoder already.

    Learns: as :func:`vfl.federated.rounds.aggregate`; which members hold the encoder of an earlier attempt.
    Leaks: to every member the averages.
    Model: as :func:`vfl.federated.secure_sum.total`.
    Source: McMahan et al. 2017; docs/groups.md#a-group-in-a-vertical-run.
    """
    told = {}
    for name in rounds.members:
        told[name] = (yield from receive(name, EncoderTold)).digest
    if common_held(rounds.sums, told):
        return ()
    return (yield from aggregate(rounds, gone))


def by_turns(flows: Sequence[Flow[T]]) -> Flow[list[T]]:
    """Several flows of one party, a step of each in turn; a step ends where a flow tells its progress.

    So none waits for the whole of another. Results stand in the order given.

    Learns: what the flows do.
    Leaks: what the flows do, and in which order they come.
    Model: that of the flows, which have no peer in common that both wait for by one type of message.
    Source: docs/groups.md#a-group-in-a-vertical-run.
    """
    results: dict[int, T] = {}
    try:
        while len(results) < len(flows):
            for place, flow in enumerate(flows):
                if place in results:
                    continue
                ended, value = yield from _step_of(flow)
                if ended:
                    results[place] = value
                else:
                    yield value
    finally:
        for flow in flows:
            flow.close()
    return [results[place] for place in range(len(flows))]


def _step_of(flow: Flow[Any]) -> Flow[tuple[bool, Any]]:
    """One step: whether the flow has ended, and its result or its progress."""
    value: Any = None
    lost: PeerLost | None = None
    while True:
        try:
            effect = flow.send(value) if lost is None else flow.throw(lost)
        except StopIteration as stop:
            return True, stop.value
        if isinstance(effect, Progress):
            return False, effect
        value, lost = None, None
        try:
            value = yield effect
        except PeerLost as error:
            lost = error


def told_held(peer: str, number: int) -> Flow[bytes]:
    """The digest of what a peer holds, at one place of the training.

    Learns: that digest.
    Leaks: nothing.
    Model: what a peer tells at another place is refused.
    Source: docs/groups.md#a-group-in-a-vertical-run.
    """
    told = yield from receive(peer, EncoderHeld)
    if told.number != number:
        raise RemoteProtocolError("told what it holds at another place of the training", peer)
    return told.digest


def _enough(sums: SumTerms) -> int:
    """Members who hold the same: as many as the threshold and more than half, so that no others can hold another."""
    return sums.over(sums.members).threshold


def common_held(sums: SumTerms, told: Mapping[str, bytes]) -> bytes:
    """The digest that enough members hold; empty where there is none."""
    [(digest, count)] = Counter(told.values()).most_common(1)
    return digest if count >= _enough(sums) else b""


def _passed_on(
    sums: SumTerms, what: Alike, me: str, held: F64 | None, told: Mapping[str, bytes], common: bytes
) -> Flow[F64]:
    """What enough members hold: the first of them gives it to those who do not."""
    giver = next(name for name in sums.members if told[name] == common)
    if told[me] == common:
        assert held is not None
        for name in sums.members if me == giver else ():
            if told[name] != common:
                yield Send(name, EncoderPassed(held.astype("<f8").tobytes()))
        return held
    passed = yield from receive(giver, EncoderPassed)
    if len(passed.values) != 8 * what.numbers:
        raise RemoteProtocolError(
            f"passed {len(passed.values) // 8} numbers as its group's {what.name}, not {what.numbers}", giver
        )
    weights = np.frombuffer(passed.values, "<f8").astype(np.float64)
    if weights_digest(weights) != common:
        raise RemoteProtocolError(f"passed another {what.name} than the members hold", giver)
    return weights
