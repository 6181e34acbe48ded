"""The check of a slot product: whether the two ends' shares agree in the slots where the product is zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.protocols.equality import POINT_BYTES, PROOF_BYTES, Compared, commons, proof
from vfl.protocols.slot_messages import SlotCheck

__all__ = ["compared", "receive_check"]

U64 = NDArray[np.uint64]


def compared(label: str, shares: U64, draw: Callable[[int], bytes]) -> list[Compared]:
    """One end of the comparison of each ciphertext's check slots (ciphertexts, CHECK_SLOTS)."""
    return [Compared.of(f"{label}/{PRIME_RING.pack(row).hex()}", draw) for row in shares]


def receive_check(peer: str, label: str, expected: Sequence[Compared]) -> Flow[tuple[list[bytes], list[bool]]]:
    """Evaluator: of each ciphertext what the ends have in common, and whether the key holder has it too.

    Learns: which ciphertexts add up; nothing else of the key holder's shares.
    Leaks: nothing.
    Model: whatever the key holder sends agrees only where it has the evaluator's own numbers.
    Source: docs/protocols/slots.md#check-slots.
    """
    shown = yield from receive(peer, SlotCheck)
    if shown.label != label:
        raise RemoteProtocolError(f"showed check slots of {shown.label!r} when {label!r} was due", peer)
    size = POINT_BYTES + PROOF_BYTES
    if len(shown.values) != size * len(expected):
        raise RemoteProtocolError(f"{len(expected)} ciphertexts are compared by {size * len(expected)} bytes", peer)
    parts = [shown.values[start : start + size] for start in range(0, len(shown.values), size)]
    try:
        found = commons(expected, b"".join(part[:POINT_BYTES] for part in parts))
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None
    proofs = [part[POINT_BYTES:] for part in parts]
    return found, [given == proof(common, "key holder") for given, common in zip(proofs, found, strict=True)]
