"""Slot mode: the private product element by element of two vectors of the prime ring, both operands full-range.

The key holder's vector travels encrypted, 8,188 elements a ciphertext, a few of them a message
(:mod:`vfl.protocols.parts`); the evaluator multiplies by its own vector, adds a fresh encryption of zero and subtracts
a mask uniform in R_q. Both end with additive shares mod p of a * b, or of a sum of such products (``terms``) for the
price of one answer. Either of two share holders may be the key holder.

**Why a mask in R_q.** The decrypted polynomial is the product's noise e * x beside its message, and the key holder
chose e. A mask uniform in R_q hides both perfectly, whatever ciphertext came; a plaintext mask with drowning noise
does not hide the share from a key holder whose noise is large (``tests/attacks/test_slots.py``).

**Why check slots.** The two ends round the two parts of one number, so their shares add up unless the mask's fraction
lies within the noise of one half: 2**-31 a ciphertext at the very worst
(``tests/vfl/protocols/test_slot_faults.py``), and then every slot is garbage. So the last 3 slots of every ciphertext
hold a zero of the evaluator's, and the two ends compare their shares there. One slot would do: a fault changes the
polynomial by +-x**i, which is zero nowhere. Ciphertexts that fail are sent again under fresh masks.

**Why a test of equality.** A key holder that showed its shares would decrypt a few numbers of whatever ciphertext it is
sent, which reads its secret key; an evaluator that showed its own would say where a fault of the key holder's making
lies. So neither shows a share (:mod:`vfl.protocols.equality`): each learns one bit, whether it guessed the other's.
Both count the failures, per session and peer, and end it by name past :data:`MOST_FAULTS`.

**Why a slot is always filled.** An operand of zeros alone is the zero polynomial, which no noise makes fail, so a key
holder that made noise would read one bit of it exactly. A uniform element in one slot of every ciphertext, and in those
that are left over, makes every operand's polynomial uniform in each coefficient, whatever the elements are.
Source: docs/protocols/slots.md#slot-mode; batching of Smart and Vercauteren, Designs, Codes and Cryptography 71 (2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Evaluator, KeyHolder, ZeroSupply
from vfl.arithmetic.parameter_sets import PRIME_PARAMETER_SETS, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.seal_objects import Ciphertext, Plain
from vfl.protocols.equality import Compared, commons, proof
from vfl.protocols.parts import parts_of
from vfl.protocols.slot_check import compared, receive_check
from vfl.protocols.slot_messages import SlotAnswer, SlotCheck, SlotOperand, SlotVerdict

__all__ = [
    "CHECK_SLOTS",
    "FILLED_SLOTS",
    "MOST_FAULTS",
    "MOST_TERMS",
    "SLOTS",
    "Factor",
    "LoadedSlots",
    "Made",
    "SlotEvaluator",
    "SlotMultiplier",
    "answer_slots",
    "ciphertexts_of",
    "encrypt_slots",
    "evaluate_slots",
    "finish_slots",
    "hold_slots",
    "multiply_slots",
    "offer_slots",
    "open_slots",
    "receive_slots",
]

U64 = NDArray[np.uint64]

_DEGREE = PRIME_PARAMETER_SETS[SLOT_SET].degree

CHECK_SLOTS = 3
"""Slots at the end of every ciphertext in which the evaluator has zero."""

FILLED_SLOTS = 1
"""Slots before these in which the evaluator has a uniform element."""

SLOTS = _DEGREE - FILLED_SLOTS - CHECK_SLOTS
"""Products of one ciphertext."""

MOST_TERMS = 2
"""Products that one answer may add up: the noise bound counts on it."""

MOST_FAULTS = 3
"""Ciphertexts that a session repeats; honest ones fail with probability 2**-30 each at the most."""


def ciphertexts_of(count: int) -> int:
    """Ciphertexts of a vector of ``count`` elements. Raises LocalProtocolError below one element."""
    if count < 1:
        raise LocalProtocolError("a slot product needs at least one element")
    return math.ceil(count / SLOTS)


def _laid_out(values: U64) -> U64:
    """Slot values (ciphertexts, N) of a flat vector: what it does not need of the slots is zero."""
    blocks = ciphertexts_of(len(values))
    laid = np.zeros((blocks, _DEGREE), dtype=np.uint64)
    whole = len(values) // SLOTS
    laid[:whole, :SLOTS] = values[: whole * SLOTS].reshape(whole, SLOTS)
    laid[whole:, : len(values) - whole * SLOTS] = values[whole * SLOTS :]
    return laid


def _read(laid: U64, count: int) -> U64:
    """The flat vector of ``count`` elements that was laid out."""
    return laid[:, :SLOTS].reshape(-1)[:count]


def encrypt_slots(key: KeyHolder, values: U64) -> tuple[bytes, ...]:
    """The key holder's vector (flat, elements of Z_p) as ciphertexts: message 1."""
    return key.encrypt_all(key.context.slots.polynomials(_laid_out(values)))


@dataclass(frozen=True)
class LoadedSlots:
    """A vector of ``count`` elements as far as it has come, checked, in NTT form; it may serve several products.

    blocks: as it came, where the products are computed elsewhere; then there are no ``ciphers``.
    """

    count: int
    ciphers: list[Ciphertext] = field(default_factory=list)
    blocks: list[bytes] = field(default_factory=list)

    @property
    def arrived(self) -> int:
        """Ciphertexts that are here."""
        return len(self.ciphers) + len(self.blocks)


Made = tuple[tuple[bytes, ...], tuple[bytes, ...], U64]
"""What an evaluator makes: both polynomials of each answer, and its share, slot values (ciphertexts, N)."""


class SlotMultiplier(Protocol):
    """Multiplies elsewhere, such as on a party's workers, under masks and encryptions of zero that are made there."""

    def __call__(self, terms: Sequence[tuple[Sequence[bytes], U64]]) -> Made:
        """As :func:`multiply_slots`, of received blocks and own slot values (ciphertexts, N)."""


@dataclass
class SlotEvaluator:
    """One session's evaluator side: the key holder's public key, where masks come from, faults so far.

    zeros: encryptions of zero made ahead; without it each is made when it is needed. spread: where products are
    computed, by default here.
    """

    evaluator: Evaluator
    stream: SecretStream
    zeros: ZeroSupply | None = None
    faults: int = 0
    spread: SlotMultiplier | None = None

    def __post_init__(self) -> None:
        if self.evaluator.context.name != SLOT_SET:
            raise LocalProtocolError(f"slot mode needs the parameter set {SLOT_SET!r}")


def multiply_slots(
    evaluator: Evaluator,
    terms: Sequence[tuple[Sequence[Ciphertext], Sequence[Plain | None]]],
    stream: SecretStream,
    zeros: ZeroSupply | None = None,
) -> Made:
    """Message 2 and the evaluator's share, slot values (ciphertexts, N), of the sum over ``terms``.

    terms: ciphertexts and encoded operands, one of each per output ciphertext. Every output takes one fresh encryption
    of zero and one mask uniform in R_q.
    """
    take = zeros or evaluator.fresh_zero
    first, second, shares = [], [], []
    for number in range(len(terms[0][0])):
        total = evaluator.combine([c[number] for c, _ in terms], [p[number] for _, p in terms])
        c0, c1, share = evaluator.finish(total, take(), None, stream)
        first.append(c0)
        second.append(c1)
        shares.append(share)
    return tuple(first), tuple(second), evaluator.context.slots.values(np.stack(shares))


def open_slots(key: KeyHolder, answer: SlotAnswer, blocks: int) -> U64:
    """The key holder's share, slot values (blocks, N). Raises MalformedError when the answer does not fit."""
    if len(answer.first) != blocks or len(answer.second) != blocks:
        raise MalformedError(f"the answer has {len(answer.first)} ciphertexts, not {blocks}")
    opened = key.decrypt_all(answer.first, answer.second, [None] * blocks)
    return key.context.slots.values(np.stack(opened))


def offer_slots(peer: str, label: str, values: U64, key: KeyHolder) -> Flow[None]:
    """Key holder: send a vector encrypted, for one product or several. values: elements of Z_p, any shape.

    Learns: nothing.
    Leaks: the number of elements; no value (BFV is IND-CPA).
    Model: semi-honest.
    Source: docs/protocols/slots.md#slot-mode.
    """
    flat = values.reshape(-1)
    for part in parts_of(ciphertexts_of(len(flat))):
        sent = encrypt_slots(key, flat[part.start * SLOTS : part.stop * SLOTS])
        yield Send(peer, SlotOperand(label, len(flat), sent))


def receive_slots(
    peer: str, label: str, count: int, side: SlotEvaluator, *, into: LoadedSlots | None = None
) -> Flow[LoadedSlots]:
    """Evaluator: take a vector of ``count`` elements. into: what has come of it; then its next part alone is taken.

    Learns: its number of elements, which was agreed.
    Leaks: nothing.
    Model: whatever comes is a ciphertext of the agreed parameter set, or refused.
    Source: docs/protocols/slots.md#slot-mode.
    """
    due, loaded = ciphertexts_of(count), LoadedSlots(count) if into is None else into
    while loaded.arrived < due:
        operand = yield from receive(peer, SlotOperand)
        if operand.label != label or operand.count != count:
            raise RemoteProtocolError(
                f"sent operand {operand.label!r} of {operand.count} elements when {label!r} of {count} was due", peer
            )
        if not 1 <= len(operand.blocks) <= due - loaded.arrived:
            got = loaded.arrived + len(operand.blocks)
            raise RemoteProtocolError(f"the operand has {got} ciphertexts, not {due}", peer)
        try:
            ciphers = [side.evaluator.load(block) for block in operand.blocks]
        except MalformedError as error:
            raise RemoteProtocolError(str(error), peer) from None
        if side.spread is None:
            loaded.ciphers.extend(ciphers)
        else:
            loaded.blocks.extend(operand.blocks)
        if into is not None:
            break
    return loaded


def finish_slots(peer: str, label: str, count: int, key: KeyHolder) -> Flow[U64]:
    """Key holder: its share (count,) of the product of vectors already sent, once the check slots agree.

    Learns: its own additive share of the product, uniform in Z_p; which ciphertexts failed.
    Leaks: to the evaluator which ciphertexts failed. An evaluator that sends other ciphertexts learns of each one bit,
        whether it guessed what they decrypt to in the check slots, and at most MOST_FAULTS wrong guesses in a session.
    Model: semi-honest; an evaluator that computes something else is not detected here.
    Source: docs/protocols/slots.md#check-slots.
    """
    share = np.empty((ciphertexts_of(count), _DEGREE), dtype=np.uint64)
    due = list(range(len(share)))
    while True:
        shown, found = list[bytes](), list[bytes]()
        while len(found) < len(due):
            answer = yield from receive(peer, SlotAnswer)
            if answer.label != label:
                raise RemoteProtocolError(f"answered {answer.label!r} when {label!r} was due", peer)
            part = due[len(found) : len(found) + max(1, len(answer.first))]
            try:
                opened = open_slots(key, answer, len(part))
                mine = compared(label, opened[:, -CHECK_SLOTS:], key.draw)
                common = commons(mine, answer.compared)
            except MalformedError as error:
                raise RemoteProtocolError(str(error), peer) from None
            share[part] = opened
            found += common
            shown += [own.point + proof(one, "key holder") for own, one in zip(mine, common, strict=True)]
        yield Send(peer, SlotCheck(label, b"".join(shown)))
        verdict = yield from receive(peer, SlotVerdict)
        repeat = list(verdict.repeat)
        if verdict.label != label or not set(repeat) <= set(due) or repeat != sorted(set(repeat)):
            raise RemoteProtocolError(f"judged ciphertexts of {label!r} that were not due", peer)
        passed = [proof(common, "evaluator") for at, common in zip(due, found, strict=True) if at not in repeat]
        if verdict.proofs != b"".join(passed):
            raise RemoteProtocolError(f"says of {label!r} that it adds up, and does not show it", peer)
        key.faults[peer] = key.faults.get(peer, 0) + len(repeat)
        if key.faults[peer] > MOST_FAULTS:
            raise RemoteProtocolError(
                f"more than {MOST_FAULTS} ciphertexts of this session fail to add up: it asked for {label!r} again",
                peer,
            )
        if not repeat:
            return _read(share, count)
        due = repeat


def answer_slots(
    peer: str,
    label: str,
    terms: Sequence[tuple[LoadedSlots, U64 | Factor]],
    side: SlotEvaluator,
    more: Callable[[int], Flow[None]] | None = None,
) -> Flow[U64]:
    """Evaluator: its share (count,) of the sum over ``terms`` of received vector times own vector.

    terms: at most MOST_TERMS pairs of the same number of elements; own vectors are elements of Z_p, any shape. more:
    takes what is to come until so many ciphertexts of each term are here; without it all have come.

    Learns: its own additive share of the product, uniform in Z_p; which ciphertexts failed.
    Leaks: to the key holder which ciphertexts failed to cancel. Honest noise fails once in 2**30 ciphertexts at the
        very worst; a key holder that makes failures learns one bit of each, at most MOST_FAULTS in a session, and that
        of a polynomial whose every coefficient is uniform.
    Model: hides the vectors from a malicious key holder but for these bits: what leaves is uniform in R_q (c0) or
        masked by a fresh RLWE sample (c1), whatever ciphertext came and however much noise it carries.
    Source: docs/protocols/slots.md#slot-mode.
    """
    factors = [(loaded, own if isinstance(own, Factor) else Factor.of(own, side)) for loaded, own in terms]
    count = factors[0][0].count
    assert 1 <= len(terms) <= MOST_TERMS, "the noise bound counts on few terms"
    assert all(loaded.count == own.count == count for loaded, own in factors), "terms of one length"
    share = np.empty((ciphertexts_of(count), _DEGREE), dtype=np.uint64)
    due = list(range(len(share)))
    while True:
        expected: list[Compared] = []
        for part in [due] if side.spread is not None else [due[places] for places in parts_of(len(due))]:
            if more is not None:
                yield from more(part[-1] + 1)
            first, second, made = _multiplied(factors, part, side)
            share[part] = made
            own = compared(label, PRIME_RING.neg(made[:, -CHECK_SLOTS:]), side.stream.take)
            yield Send(peer, SlotAnswer(label, first, second, b"".join(one.point for one in own)))
            expected += own
        found, agree = yield from receive_check(peer, label, expected)
        due = [number for number, fine in zip(due, agree, strict=True) if not fine]
        side.faults += len(due)
        if side.faults > MOST_FAULTS:
            raise RemoteProtocolError(
                f"more than {MOST_FAULTS} ciphertexts of this session fail to add up: they carry more noise than "
                "fresh ones do, or it shows wrong shares",
                peer,
            )
        passed = [proof(common, "evaluator") for common, fine in zip(found, agree, strict=True) if fine]
        yield Send(peer, SlotVerdict(label, tuple(due), b"".join(passed)))
        if not due:
            return _read(share, count)


@dataclass(frozen=True, repr=False)
class Factor:
    """An evaluator's own vector: slot values (ciphertexts, N), and encoded where products are computed here."""

    count: int
    values: U64
    plains: tuple[Plain | None, ...]

    @classmethod
    def of(cls, own: U64, side: SlotEvaluator) -> Factor:
        values, context = _filled(own.reshape(-1), side.stream), side.evaluator.context
        if side.spread is not None:
            return cls(own.size, values, ())
        return cls(own.size, values, tuple(side.evaluator.plain(p) for p in context.slots.polynomials(values)))


def _multiplied(terms: Sequence[tuple[LoadedSlots, Factor]], part: list[int], side: SlotEvaluator) -> Made:
    """The answers of these numbers, made here or elsewhere."""
    if side.spread is not None:
        return side.spread([([loaded.blocks[i] for i in part], own.values[part]) for loaded, own in terms])
    chosen = [([loaded.ciphers[i] for i in part], [own.plains[i] for i in part]) for loaded, own in terms]
    return multiply_slots(side.evaluator, chosen, side.stream, side.zeros)


def _filled(values: U64, stream: SecretStream) -> U64:
    """Slot values (ciphertexts, N) of the evaluator's vector, uniform elements in slots that it does not need."""
    laid = _laid_out(values)
    laid[:, SLOTS:-CHECK_SLOTS] = PRIME_RING.uniform(stream, (len(laid), FILLED_SLOTS))
    left = len(laid) * SLOTS - len(values)
    if left:
        laid[-1, SLOTS - left : SLOTS] = PRIME_RING.uniform(stream, (left,))
    return laid


def hold_slots(peer: str, label: str, values: U64, key: KeyHolder) -> Flow[U64]:
    """Key holder's side of one product: its share of values * (the evaluator's), in the shape of ``values``.

    Learns: its own additive share of the product, uniform in Z_p; which ciphertexts failed.
    Leaks: the number of elements; as :func:`finish_slots`.
    Model: semi-honest; an evaluator that computes something else is not detected here.
    Source: docs/protocols/slots.md#slot-mode.
    """
    yield from offer_slots(peer, label, values, key)
    share = yield from finish_slots(peer, label, values.size, key)
    return share.reshape(values.shape)


def evaluate_slots(peer: str, label: str, values: U64, side: SlotEvaluator) -> Flow[U64]:
    """Evaluator's side of one product: its share of (the key holder's) * values, in the shape of ``values``.

    Learns: its own additive share of the product, uniform in Z_p; which ciphertexts failed.
    Leaks: to the key holder which ciphertexts failed to cancel: :func:`answer_slots`.
    Model: hides ``values`` from a malicious key holder but for these bits.
    Source: docs/protocols/slots.md#slot-mode.
    """
    own = Factor.of(values, side)  # while the key holder encrypts
    loaded = yield from receive_slots(peer, label, values.size, side)
    share = yield from answer_slots(peer, label, [(loaded, own)], side)
    return share.reshape(values.shape)
