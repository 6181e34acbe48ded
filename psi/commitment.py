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
from psi.ot.id_blocks import BlockSet
from psi.padding import padded_size

__all__ = [
    "AlignmentLimits",
    "Commitments",
    "OwnSetRefused",
    "PreviousAlignment",
    "check_own_size",
    "exchange_commitments",
    "framed",
]

_DOMAIN = b"entente/psi/1/set-commitment\x00"


class OwnSetRefused(LocalProtocolError):
    """The own set breaks a limit. The text counts the party's entities: it is for its operator and for no peer."""


@dataclass(frozen=True, slots=True)
class AlignmentLimits:
    """What the parties agreed on: entities, entities, and the share of the larger of two successive sets.

    ``bucket``: lists are filled with random ids to a multiple of it; 0: they are as long as the sets.
    ``smallest_change``: fewest ids that may change between two sets that are not the same; 0: any number may.
    """

    minimum_common: int
    maximum_set_size: int
    largest_change: float
    bucket: int = 0
    smallest_change: int = 0

    def __post_init__(self) -> None:
        if self.bucket < 0:
            raise ValueError(f"alignment limits: bucket must be 0 or above, not {self.bucket}")
        if not 1 <= self.minimum_common <= self.maximum_set_size or not 0 <= self.largest_change <= 1:
            raise ValueError(
                "alignment limits: 1 <= minimum_common <= maximum_set_size and 0 <= largest_change <= 1 must hold, "
                f"not {self.minimum_common}, {self.maximum_set_size} and {self.largest_change}"
            )

    @property
    def largest_list(self) -> int:
        """Most entries of a list, padding included."""
        return padded_size(self.maximum_set_size, self.bucket)


@dataclass(frozen=True, slots=True)
class PreviousAlignment:
    """What a node kept of earlier alignments in this consortium.

    ``salted`` is its own set of the last one (None: there was none). ``seen`` holds, for each other party,
    the roots that this node has seen it commit to; a party that is in it must build on one of them.
    """

    salted: SaltedSet | BlockSet | None = None
    seen: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commitments:
    """Everybody's commitments, as one party has them. ``digest`` is over all of them in agreed order.

    ``changed``: ids that a party declares to have changed since the set it names; who names none is not in it.
    """

    sizes: Mapping[str, int]
    roots: Mapping[str, bytes]
    digest: bytes
    salted: SaltedSet | BlockSet = field(repr=False)
    changed: Mapping[str, int] = field(default_factory=dict)


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
    committed: BlockSet | None = None,
) -> Flow[Commitments]:
    """Commit to ``ids`` under a fresh salt and collect everybody's commitments, before round 1.

    ``committed``: the ids under ``salt`` in blocks, where they are already.

    Learns: every party's set size, previous set size and declared change.
    Leaks: nothing else; a root says nothing of the set to whoever lacks its salt.
    Model: semi-honest; a declared change is the party's word, and its signature lets an auditor who is given both
        salts and sets hold it to that word.
    Source: RFC 6962 section 2.1 (Merkle tree).

    Raises :class:`LocalProtocolError` where the own set breaks a limit, else :class:`RemoteProtocolError`.
    """
    previous = previous or PreviousAlignment()
    salted = committed or SaltedSet.of(salt, ids)
    own = _commitment(salted, previous.salted, ids)
    _check_own_change(own, limits)
    signed = _signed(run, parties, me, own)
    mine = SetCommitment(*own, signature=sign(signed))
    for name in parties:
        if name != me:
            yield Send(name, mine)
    digest = hashlib.sha256()
    sizes: dict[str, int] = {}
    roots: dict[str, bytes] = {}
    changed: dict[str, int] = {}
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
        if got.previous_root:
            changed[name] = got.changed
    return Commitments(sizes, roots, digest.digest(), salted, changed)


_Declared = tuple[int, bytes, int, bytes, int]


def _commitment(salted: SaltedSet | BlockSet, before: SaltedSet | BlockSet | None, ids: Sequence[str]) -> _Declared:
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


def check_own_size(size: int, limits: AlignmentLimits) -> None:
    """Raise :class:`OwnSetRefused` unless a set of ``size`` entities is within the agreed limits."""
    if size > limits.maximum_set_size:
        raise OwnSetRefused(
            f"this party's set holds {size} entities, above the agreed maximum of {limits.maximum_set_size}: "
            "narrow the query, or agree on a larger alignment.maximum_set_size"
        )
    if size < limits.minimum_common:
        raise OwnSetRefused(
            f"this party's set holds {size} entities, below the agreed minimum of {limits.minimum_common} common ones: "
            "widen the query, or agree on a smaller alignment.minimum_common"
        )


def _too_little(changed: int, limits: AlignmentLimits) -> bool:
    return 0 < changed < limits.smallest_change


def _check_own_change(own: _Declared, limits: AlignmentLimits) -> None:
    size, _, previous_size, previous_root, changed = own
    if previous_root and _too_little(changed, limits):
        raise OwnSetRefused(
            f"{changed} of this party's {size} entities changed since its last run, fewer than the agreed "
            f"{limits.smallest_change}: two answers would differ by what so few tell; bring the same set as before, or "
            "wait until more have changed"
        )
    if previous_root and _too_much(size, previous_size, changed, limits):
        raise OwnSetRefused(
            f"{changed} of this party's {size} entities changed since its last run, above the agreed share of "
            f"{limits.largest_change:g}: check the query, or agree on a larger alignment.largest_change"
        )


def _check_peer(name: str, got: SetCommitment, limits: AlignmentLimits, seen: frozenset[bytes]) -> None:
    size, root, previous_size, previous_root, changed = _declared(got)
    if min(size, previous_size, changed) < 0 or max(size, previous_size, changed) >= 2**63:
        raise RemoteProtocolError("its set commitment holds a number out of range", name)
    if len(root) != HASH_BYTES or len(previous_root) not in (0, HASH_BYTES):
        raise RemoteProtocolError("its set commitment holds a root that is not 32 bytes", name)
    if size > limits.largest_list:
        raise RemoteProtocolError(
            f"commits to {size} entities, above the agreed maximum of {limits.largest_list}", name
        )
    if limits.bucket and size % limits.bucket:
        raise RemoteProtocolError(f"commits to {size} entities, which fill no agreed bucket of {limits.bucket}", name)
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
    elif _too_little(changed, limits):
        raise RemoteProtocolError(
            f"declares that {changed} entities changed since its last run, fewer than the agreed "
            f"{limits.smallest_change}: two answers would differ by what so few tell",
            name,
        )
    elif _too_much(size, previous_size, changed, limits):
        raise RemoteProtocolError(
            f"declares that {changed} of {size} entities changed since its last run, above the agreed share of "
            f"{limits.largest_change:g}",
            name,
        )
