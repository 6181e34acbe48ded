"""Set commitments: every party fixes its set, signed, before any blinded point moves.

A commitment also declares how many ids changed since the party's last run. A set that changed by more than
the agreed rate is refused, by its owner's node and by every other one: set after set, swapped entirely, would
walk through the others' coverage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from psi.merkle import HASH_BYTES, SaltedSet
from psi.messages import SetCommitment

__all__ = ["AlignmentLimits", "Commitments", "PreviousAlignment", "exchange_commitments", "framed"]

_DOMAIN = b"entente/psi/1/set-commitment\x00"


@dataclass(frozen=True, slots=True)
class AlignmentLimits:
    """What the parties agreed on: entities, entities, and the share of the larger of two successive sets."""

    minimum_common: int
    maximum_set_size: int
    largest_change: float

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_common <= self.maximum_set_size or not 0 <= self.largest_change <= 1:
            raise ValueError(
                "alignment limits: 1 <= minimum_common <= maximum_set_size and 0 <= largest_change <= 1 must hold, "
                f"not {self.minimum_common}, {self.maximum_set_size} and {self.largest_change}"
            )


@dataclass(frozen=True, slots=True)
class PreviousAlignment:
    """What a node kept of earlier alignments in this consortium.

    ``salted`` is its own set of the last one (None: there was none). ``seen`` holds, for each other party,
    the roots that this node has seen it commit to; a party that is in it must build on one of them.
    """

    salted: SaltedSet | None = None
    seen: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commitments:
    """Everybody's commitments, as one party has them. ``digest`` is over all of them in agreed order."""

    sizes: Mapping[str, int]
    roots: Mapping[str, bytes]
    digest: bytes
    salted: SaltedSet = field(repr=False)


def framed(*parts: bytes) -> bytes:
    """Byte strings joined so that no two sequences of them give the same bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def exchange_commitments(
    me: str,
    parties: Sequence[str],
    ids: Sequence[str],
    *,
    run: bytes,
    limits: AlignmentLimits,
    salt: bytes,
    sign: Callable[[bytes], bytes],
    verify: Callable[[str, bytes, bytes], bool],
    previous: PreviousAlignment | None = None,
) -> Flow[Commitments]:
    """Commit to ``ids`` under a fresh salt and collect everybody's commitments, before round 1.

    Learns: every party's set size, previous set size and declared change.
    Leaks: nothing else; a root says nothing of the set to whoever lacks its salt.
    Model: semi-honest; a declared change is the party's word, and its signature lets an auditor who is given both
        salts and sets hold it to that word.
    Source: RFC 6962 section 2.1 (Merkle tree).

    Raises :class:`LocalProtocolError` where the own set breaks a limit, else :class:`RemoteProtocolError`.
    """
    previous = previous or PreviousAlignment()
    salted = SaltedSet.of(salt, ids)
    own = _commitment(salted, previous.salted, ids)
    _check_own(own, limits)
    signed = _signed(run, parties, me, own)
    mine = SetCommitment(*own, signature=sign(signed))
    for name in parties:
        if name != me:
            yield Send(name, mine)
    digest = hashlib.sha256()
    sizes: dict[str, int] = {}
    roots: dict[str, bytes] = {}
    for name in parties:
        if name == me:
            got, data = mine, signed
        else:
            got = yield from receive(name, SetCommitment)
            _check_peer(name, got, limits, previous.seen.get(name, frozenset()))
            data = _signed(run, parties, name, _declared(got))
            if not verify(name, data, got.signature):
                raise RemoteProtocolError(
                    "the signature on its set commitment does not fit its key, this run and these parties", name
                )
        digest.update(framed(data))
        sizes[name], roots[name] = got.size, got.root
    return Commitments(sizes, roots, digest.digest(), salted)


_Declared = tuple[int, bytes, int, bytes, int]


def _commitment(salted: SaltedSet, before: SaltedSet | None, ids: Sequence[str]) -> _Declared:
    if before is None:
        return len(salted), salted.root, 0, b"", 0
    return len(salted), salted.root, len(before), before.root, before.changed(ids)


def _declared(got: SetCommitment) -> _Declared:
    return got.size, got.root, got.previous_size, got.previous_root, got.changed


def _signed(run: bytes, parties: Sequence[str], party: str, declared: _Declared) -> bytes:
    size, root, previous_size, previous_root, changed = declared
    counts = (number.to_bytes(8, "big") for number in (size, previous_size, changed))
    ring = framed(*map(str.encode, parties))
    return _DOMAIN + framed(run, ring, party.encode(), *counts, root, previous_root)


def _too_much(size: int, previous_size: int, changed: int, limits: AlignmentLimits) -> bool:
    return changed > limits.largest_change * max(size, previous_size)


def _check_own(own: _Declared, limits: AlignmentLimits) -> None:
    size, _, previous_size, previous_root, changed = own
    if size > limits.maximum_set_size:
        raise LocalProtocolError(
            f"this party's set holds {size} entities, above the agreed maximum of {limits.maximum_set_size}: "
            "narrow the query, or agree on a larger alignment.maximum_set_size"
        )
    if size < limits.minimum_common:
        raise LocalProtocolError(
            f"this party's set holds {size} entities, below the agreed minimum of {limits.minimum_common} common ones: "
            "widen the query, or agree on a smaller alignment.minimum_common"
        )
    if previous_root and _too_much(size, previous_size, changed, limits):
        raise LocalProtocolError(
            f"{changed} of this party's {size} entities changed since its last run, above the agreed share of "
            f"{limits.largest_change:g}: check the query, or agree on a larger alignment.largest_change"
        )


def _check_peer(name: str, got: SetCommitment, limits: AlignmentLimits, seen: frozenset[bytes]) -> None:
    size, root, previous_size, previous_root, changed = _declared(got)
    if min(size, previous_size, changed) < 0 or max(size, previous_size, changed) >= 2**63:
        raise RemoteProtocolError("its set commitment holds a number out of range", name)
    if len(root) != HASH_BYTES or len(previous_root) not in (0, HASH_BYTES):
        raise RemoteProtocolError("its set commitment holds a root that is not 32 bytes", name)
    if size > limits.maximum_set_size:
        raise RemoteProtocolError(
            f"commits to {size} entities, above the agreed maximum of {limits.maximum_set_size}", name
        )
    if seen and previous_root not in seen:
        raise RemoteProtocolError(
            "does not build on a set that this party has seen from it: "
            "agree with it on a fresh start and drop what both kept of earlier alignments",
            name,
        )
    if not previous_root:
        if previous_size or changed:
            raise RemoteProtocolError("declares a change since a set it does not name", name)
    elif not abs(size - previous_size) <= changed <= max(size, previous_size):
        raise RemoteProtocolError(
            f"declares {changed} changes between sets of {previous_size} and {size} entities, which cannot be", name
        )
    elif _too_much(size, previous_size, changed, limits):
        raise RemoteProtocolError(
            f"declares that {changed} of {size} entities changed since its last run, above the agreed share of "
            f"{limits.largest_change:g}",
            name,
        )
