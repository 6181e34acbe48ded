"""Whether a predicted score wrapped: both holders learn one bit of a prediction, and nothing else opens for it.

A score opens modulo 2**17, so one beyond +-score_limit would come as another number. Of the truncated scores s, whose
shares the holders have in Z_p, each holder sums w s with w public and uniform in Z_p: the anchor of its shares, the
label party of the scores as they opened, less its own shares. Where none wrapped the two sums are equal; where some did
they differ, but for one time in p. They are compared (:mod:`vfl.protocols.equality`), not shown: the label party has
one guess at the anchor's sum, and shows it first.

A guess that fails is kept before it is answered: no later attempt goes on with that prediction, and none guesses again.
Source: docs/protocols/sealed.md#out-of-range.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.protocols.equality import Compared, proof

__all__ = [
    "CHECK_BITS",
    "Predicted",
    "RangeGuess",
    "RangePoint",
    "RangeVerdict",
    "answer_range",
    "check_range",
    "folded",
]

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
Draw = Callable[[int], bytes]

CHECK_BITS = 1
"""Of a prediction: whether all its scores are in range."""

_SOURCE = "docs/protocols/sealed.md#out-of-range"
_LABEL, _ANCHOR = "range/label party", "range/anchor"


@message(
    "sealed.range-point",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="nothing: a point that stands for the anchor's sum, uniform in the group",
    source=_SOURCE,
)
class RangePoint(Message):
    """Stands for the anchor's sum of its shares of a prediction's scores."""

    step: int
    point: bytes


@message(
    "sealed.range-guess",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="whether all scores of a prediction are in range, one bit; nothing of a score",
    source=_SOURCE,
)
class RangeGuess(Message):
    """Stands for what the label party expects that sum to be, and shows what both have in common if it is."""

    step: int
    point: bytes
    proof: bytes


@message(
    "sealed.range-verdict",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="whether all scores of a prediction are in range, one bit",
    source=_SOURCE,
)
class RangeVerdict(Message):
    """Shows that the two agree; empty where they do not."""

    step: int
    proof: bytes


@dataclass(frozen=True)
class Predicted:
    """A prediction whose scores are checked. seed: the model's. beyond: what is wrong where a score wrapped."""

    seed: int
    step: int
    beyond: str

    def compared(self, value: U64, draw: Draw) -> Compared:
        """One end of the comparison of this sum (1,)."""
        return Compared.of(f"score range/{self.step}/{PRIME_RING.pack(value).hex()}", draw)


def folded(seed: int, step: int, scores: U64) -> U64:
    """The sum (1,) of elements (rows,) of Z_p under the step's weights, which everyone knows."""
    key = hashlib.sha256(f"entente/score range/{seed}".encode()).digest()
    weights = PRIME_RING.uniform(SecretStream(key).child(str(step)), scores.shape)
    return PRIME_RING.sum(PRIME_RING.mul(weights, scores).reshape(-1, 1), axis=0)


def check_range(anchor: str, this: Predicted, share: U64, scores: F64, fraction: int, draw: Draw) -> Flow[None]:
    """The label party: raise LocalProtocolError where one of these opened scores (rows,) has wrapped.

    share: its own of the folded scores, (1,). fraction: fractional bits of the scores. draw: secret uniform bytes, new
    in every attempt.

    Learns: whether one wrapped, 1 bit.
    Leaks: the same bit to the anchor. An anchor that opened other scores than it holds learns in its place whether it
        guessed by how much they moved that sum: whether the scores so moved are in range.
    Model: whatever the anchor sends agrees only where it has this side's own number; that is one guess an attempt.
    Source: docs/protocols/sealed.md#out-of-range.
    """
    got = yield from receive(anchor, RangePoint)
    _check_step(got.step, this.step, anchor)
    opened = PRIME_RING.wrap(np.rint(np.ldexp(scores, fraction)).astype(np.int64))
    mine = this.compared(PRIME_RING.sub(folded(this.seed, this.step, opened), share), draw)
    common = _common(mine, got.point, anchor)
    yield Send(anchor, RangeGuess(this.step, mine.point, proof(common, _LABEL)))
    verdict = yield from receive(anchor, RangeVerdict)
    _check_step(verdict.step, this.step, anchor)
    if not verdict.proof:
        raise LocalProtocolError(this.beyond)
    if verdict.proof != proof(common, _ANCHOR):
        raise RemoteProtocolError("says that scores are in range, and does not show it", anchor)


def answer_range(label: str, this: Predicted, share: U64, draw: Draw, refuse: Callable[[], None]) -> Flow[None]:
    """The anchor: raise LocalProtocolError where the label party does not show that all scores are in range.

    share, draw: as of :func:`check_range`. refuse: marks the prediction as one that nobody goes on with; on return the
    mark survives a crash.

    Learns: whether a score wrapped, 1 bit.
    Leaks: the same bit to the label party. One that guesses another sum than its scores give learns whether it guessed
        right, 1 bit too, and a wrong guess ends the run.
    Model: whatever the label party sends agrees only where it has this side's own number; that is one guess, and a
        second of the same prediction is not answered.
    Source: docs/protocols/sealed.md#out-of-range.
    """
    mine = this.compared(share, draw)
    yield Send(label, RangePoint(this.step, mine.point))
    guess = yield from receive(label, RangeGuess)
    _check_step(guess.step, this.step, label)
    common = _common(mine, guess.point, label)
    if guess.proof != proof(common, _LABEL):
        refuse()
        yield Send(label, RangeVerdict(this.step, b""))
        raise LocalProtocolError(this.beyond)
    yield Send(label, RangeVerdict(this.step, proof(common, _ANCHOR)))


def _common(mine: Compared, point: bytes, peer: str) -> bytes:
    try:
        return mine.common(point)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None


def _check_step(named: int, step: int, peer: str) -> None:
    if named != step:
        raise RemoteProtocolError(f"checks the scores of step {named} at step {step}", peer)
