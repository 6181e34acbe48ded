"""A secure sum: the coordinator learns the sum of the members' numbers and no member's own, even where some drop out.

Every member masks its numbers with a stream shared with each other member, which cancels in the sum, and with one of
its own. Keys and seeds are shared out (Shamir) before: of a member whose part did not arrive the key is put together,
so that what others masked against it can be taken off; of one whose part did the seed is, and never both. Keys and
shares travel from member to member, over the connections that the roster authenticates, not through the coordinator.
Over these, members also compare what the coordinator told them, before anybody gives a share back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from psi.flow import Flow, Message, PeerLost, ProtocolError, RemoteProtocolError, Send, UnattributedError, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.shamir import SHARE_BYTES, joined, shared
from vfl.federated.messages import (
    PlainUpdate,
    SumAgreed,
    SumHeard,
    SumIncluded,
    SumKey,
    SumPart,
    SumStart,
    SumSurvivors,
    SumTotal,
    SumUnmask,
)

__all__ = ["KEY_BYTES", "SumTerms", "TooFewMembers", "Total", "add", "hear_total", "next_of", "tell", "total"]

U64 = NDArray[np.uint64]
K = TypeVar(
    "K", SumStart, SumKey, SumHeard, SumIncluded, SumPart, SumSurvivors, SumAgreed, SumUnmask, SumTotal, PlainUpdate
)


KEY_BYTES = 32 + 2 * SHARE_BYTES
"""What a member sends each other one for a sum: a public key and two shares."""


class TooFewMembers(ProtocolError):
    """Fewer members than the agreed threshold are left, so that no sum may open."""


@dataclass(frozen=True)
class SumTerms:
    """What everybody in a training agrees on. members: all of them, in agreed order. run: its id, hex.

    hearers: who is told a sum, empty for the members alone.
    """

    members: tuple[str, ...]
    aggregator: str
    threshold: int
    ring: Ring
    run: str
    hearers: tuple[str, ...] = ()

    def over(self, wanted: Sequence[str]) -> SumTerms:
        """These, of a sum in which ``wanted`` may take part: half of them or fewer could be told of one sum and half of
        another, and give both secrets of one member.
        """
        return replace(self, threshold=max(self.threshold, len(wanted) // 2 + 1))

    def check_enough(self, names: Sequence[str], doing: str) -> None:
        if len(names) < self.threshold:
            raise TooFewMembers(
                f"{len(names)} of {len(self.members)} members are left {doing}, and a sum opens of {self.threshold} or "
                "more: wait for the others, or agree on another model.threshold"
            )


@dataclass(frozen=True)
class Total:
    """An opened sum: whose it is, and its elements."""

    names: tuple[str, ...]
    elements: U64


def add(terms: SumTerms, me: str, number: int, wanted: Sequence[str], values: U64, stream: SecretStream) -> Flow[Total]:
    """Member: bring ``values`` to sum ``number``, in which nobody outside ``wanted`` may take part.

    Learns: the sum of all whose part arrived, at least the agreed threshold of members, and who they are.
    Leaks: nothing else of ``values``; to members, that this one takes part.
    Model: semi-honest members; whoever colludes learns the sum of those who do not. A coordinator that tells members
    different things about who takes part or dropped out opens one sum or none, over at least the threshold of members,
    while colluders are fewer than twice the threshold less the members.
    Source: Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017.
    """
    terms, to, length = terms.over(wanted), terms.aggregator, len(values)
    start = yield from next_of(to, SumStart, number)
    names = _named(start.names, wanted, to, "the start")
    if me not in names:
        return (yield from hear_total(terms, number, wanted, length))
    private = stream.take(32)
    seed = stream.take(32)
    public = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    key_shares = shared(private, terms.threshold, len(names), stream)
    seed_shares = shared(seed, terms.threshold, len(names), stream)
    gone: set[str] = set()
    for place, peer in enumerate(names):
        if peer != me:
            try:
                yield Send(peer, SumKey(number, public, key_shares[place], seed_shares[place]))
            except PeerLost:
                gone.add(peer)
    mine = names.index(me)
    held = {me: SumKey(number, public, key_shares[mine], seed_shares[mine])}
    for peer in names:
        if peer != me and peer not in gone:
            try:
                held[peer] = yield from _key(peer, number)
            except PeerLost:
                gone.add(peer)
    heard = tuple(name for name in names if name in held)
    yield Send(to, SumHeard(number, heard, public, hashlib.sha256(seed).digest()))
    told = yield from next_of(to, SumIncluded, number)
    included = _named(told.names, heard, to, "the included")
    if me not in included:
        return (yield from hear_total(terms, number, wanted, length))
    _check_threshold(included, terms, to)
    publics = {name: held[name].public for name in included}
    masked = terms.ring.add(values, _own_mask(seed, terms.ring, length))
    masked = terms.ring.add(masked, _pair_masks(private, me, publics, terms, number, length))
    yield Send(to, SumPart(number, terms.ring.pack(masked)))
    told_survivors = yield from next_of(to, SumSurvivors, number)
    survivors = _named(told_survivors.names, included, to, "the survivors")
    _check_threshold(survivors, terms, to)
    if me in survivors:
        yield from _agree(terms, me, SumAgreed(number, included, survivors))
        # answered once: what is asked of this sum again is refused, because nothing of it is kept
        parts = (held[name].seed_share if name in survivors else held[name].key_share for name in included)
        yield Send(to, SumUnmask(number, tuple(parts)))
    return (yield from hear_total(terms, number, survivors, length))


def _agree(terms: SumTerms, me: str, mine: SumAgreed) -> Flow[None]:
    """Member: go on only where as many members as the threshold were told the same of this sum.

    Any two such sets of members have one in common, who says the same to both: so of all that a coordinator may tell,
    one opens. Without this it opens one member's numbers alone: it names few as included to that one, and to the others
    these few as dropped.

    Learns: what others were told.
    Leaks: what this one was told.
    Model: as :func:`add`. A member that makes it up ends the sum.
    Source: the consistency check of Bonawitz et al. 2017, figure 4, round 3, over the members' own connections.
    """
    others = [name for name in mine.survivors if name != me]
    lost: set[str] = set()
    for peer in others:
        try:
            yield Send(peer, mine)
        except PeerLost:
            lost.add(peer)
    for peer in others:
        if peer not in lost:
            try:
                told = yield from next_of(peer, SumAgreed, mine.number)
            except PeerLost:
                lost.add(peer)
                continue
            if told != mine:
                raise UnattributedError(
                    f"{peer} says it was told other members of sum {mine.number} than {me} was, so no mask comes off: "
                    "the coordinator tells members different things, or a member makes it up; nothing shows which"
                )
    terms.check_enough([name for name in mine.survivors if name not in lost], "who were told the same of a sum")


def hear_total(terms: SumTerms, number: int, allowed: Sequence[str], length: int) -> Flow[Total]:
    """Member: take the sum, of members of ``allowed``.

    Learns: the sum, and whose it is.
    Leaks: nothing.
    Model: a coordinator can tell another sum than it has; every member hears it and compares nothing.
    Source: docs/groups.md#the-secure-sum.
    """
    told = yield from next_of(terms.aggregator, SumTotal, number)
    names = _named(told.names, allowed, terms.aggregator, "the sum")
    _check_threshold(names, terms, terms.aggregator)
    try:
        return Total(names, terms.ring.unpack(told.values, length))
    except MalformedError as error:
        raise RemoteProtocolError(f"the sum: {error}", terms.aggregator) from None


def total(terms: SumTerms, number: int, wanted: Sequence[str], length: int, gone: set[str]) -> Flow[Total]:
    """Coordinator: the sum ``number`` of those of ``wanted`` who are not ``gone``; who is lost on the way joins them.

    Learns: the sum of all whose part arrived, at least the agreed threshold of members; who drops out, and when.
    Leaks: to every member the sum.
    Model: semi-honest; with colluding members it learns the sum of all others.
    Source: Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017.
    """
    terms, names = terms.over(wanted), [name for name in wanted if name not in gone]
    terms.check_enough(names, "at the start")
    yield from tell(terms, SumStart(number, tuple(names)), names, gone)
    heard = yield from _collect(SumHeard, number, names, gone)
    for name, said in heard.items():
        if len(said.public) != 32 or len(said.seed_digest) != 32 or not {name} <= set(said.names) <= set(names):
            raise RemoteProtocolError("told keys of another sum", name)
    included = _whole(names, {name: set(said.names) for name, said in heard.items()})
    terms.check_enough(included, "after the keys")
    yield from tell(terms, SumIncluded(number, tuple(included)), list(heard), gone)
    parts = yield from _collect(SumPart, number, included, gone)
    elements = {}
    for name, part in parts.items():
        try:
            elements[name] = terms.ring.unpack(part.values, length)
        except MalformedError as error:
            raise RemoteProtocolError(f"its part of the sum: {error}", name) from None
    survivors = [name for name in included if name in parts]
    terms.check_enough(survivors, "after the parts")
    yield from tell(terms, SumSurvivors(number, tuple(survivors)), included, gone)
    shares = yield from _collect(SumUnmask, number, survivors, gone)
    terms.check_enough(list(shares), "when the masks come off")
    for name, told in shares.items():
        if len(told.shares) != len(included) or any(len(share) != SHARE_BYTES for share in told.shares):
            raise RemoteProtocolError(f"brought shares that are no {len(included)} of {SHARE_BYTES} bytes", name)
    result = np.zeros(length, dtype=np.uint64)
    for part_of in elements.values():
        result = terms.ring.add(result, part_of)
    for place, name in enumerate(included):
        # a share's point is its holder's place among those who exchanged keys
        points = {names.index(holder) + 1: told.shares[place] for holder, told in shares.items()}
        mask = _mask_of(terms, number, name, points, heard, survivors, length)
        result = terms.ring.sub(result, mask)
    made = Total(tuple(survivors), result)
    told_all = SumTotal(number, made.names, terms.ring.pack(result))
    yield from tell(terms, told_all, terms.hearers or terms.members, gone)
    return made


def tell(terms: SumTerms, said: Message, names: Sequence[str], gone: set[str]) -> Flow[None]:
    """Coordinator: send ``said`` to each of ``names`` who is not gone.

    Learns: who is gone.
    Leaks: what it says.
    Model: as :func:`total`.
    Source: docs/groups.md#the-secure-sum.
    """
    for name in names:
        if name not in gone:
            try:
                yield Send(name, said)
            except PeerLost:
                gone.add(name)
    terms.check_enough([name for name in terms.members if name not in gone], "in the run")


def _mask_of(
    terms: SumTerms,
    number: int,
    name: str,
    points: Mapping[int, bytes],
    heard: Mapping[str, SumHeard],
    survivors: Sequence[str],
    length: int,
) -> U64:
    """What is left of one member's masks in the sum of the survivors' parts."""
    fits = "its shares do not fit what it committed to: it shared out others, or one who holds them changed them"
    try:
        secret = joined(points, terms.threshold)
    except MalformedError as error:
        raise RemoteProtocolError(f"{fits} ({error})", name) from None
    if name in survivors:
        if hashlib.sha256(secret).digest() != heard[name].seed_digest:
            raise RemoteProtocolError(fits, name)
        return _own_mask(secret, terms.ring, length)
    if X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() != heard[name].public:
        raise RemoteProtocolError(fits, name)
    publics = {other: heard[other].public for other in (*survivors, name)}
    # what the survivors added against it is the opposite of what it would have added against them
    return terms.ring.neg(_pair_masks(secret, name, publics, terms, number, length))


def _own_mask(seed: bytes, ring: Ring, length: int) -> U64:
    return ring.uniform(SecretStream(seed).child("federated/own"), (length,))


def _pair_masks(
    private: bytes, me: str, publics: Mapping[str, bytes], terms: SumTerms, number: int, length: int
) -> U64:
    """The masks of one member against all others of ``publics``: its place decides who adds and who subtracts."""
    key, ring = X25519PrivateKey.from_private_bytes(private), terms.ring
    masks = np.zeros(length, dtype=np.uint64)
    for peer, public in publics.items():
        if peer == me:
            continue
        try:
            secret = key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise RemoteProtocolError("sent an unusable X25519 key", peer) from None
        pair = "|".join(sorted((me, peer)))
        info = f"entente/federated/{number}/{pair}".encode()
        stream = SecretStream(HKDF(SHA256(), 32, salt=bytes.fromhex(terms.run), info=info).derive(secret))
        part = ring.uniform(stream, (length,))
        masks = ring.add(masks, part) if me < peer else ring.sub(masks, part)
    return masks


def _whole(names: Sequence[str], heard: Mapping[str, set[str]]) -> list[str]:
    """Members who hold each other's keys, all of them: whoever lacks most goes first."""
    left = [name for name in names if name in heard]
    while True:
        lacking = {
            name: sum((name not in heard[other]) + (other not in heard[name]) for other in left) for name in left
        }
        worst = max(left, key=lambda name: lacking[name], default="")
        if not worst or not lacking[worst]:
            return left
        left.remove(worst)


def _key(peer: str, number: int) -> Flow[SumKey]:
    told = yield from next_of(peer, SumKey, number)
    if len(told.public) != 32 or len(told.key_share) != SHARE_BYTES or len(told.seed_share) != SHARE_BYTES:
        raise RemoteProtocolError("sent a key or shares of another length", peer)
    return told


def next_of(peer: str, kind: type[K], number: int) -> Flow[K]:
    """The message of sum ``number``; what is left of sums that went on without its sender is passed over.

    Learns: what the message says.
    Leaks: nothing.
    Model: messages of one sender and kind arrive in order.
    Source: docs/groups.md#the-secure-sum.
    """
    while True:
        told = yield from receive(peer, kind)
        if told.number == number:
            return told
        if told.number > number:
            raise RemoteProtocolError(f"spoke of sum {told.number} in sum {number}", peer)


def _collect(kind: type[K], number: int, names: Sequence[str], gone: set[str]) -> Flow[dict[str, K]]:
    found: dict[str, K] = {}
    for name in names:
        if name not in gone:
            try:
                found[name] = yield from next_of(name, kind, number)
            except PeerLost:
                gone.add(name)
    return found


def _named(names: tuple[str, ...], allowed: Sequence[str], peer: str, what: str) -> tuple[str, ...]:
    """``names``, where they are some of ``allowed`` in their order."""
    if tuple(name for name in allowed if name in set(names)) != names:
        raise RemoteProtocolError(f"{what} of the sum names others than {', '.join(allowed)}", peer)
    return names


def _check_threshold(names: Sequence[str], terms: SumTerms, peer: str) -> None:
    if len(names) < terms.threshold:
        raise RemoteProtocolError(
            f"would open a sum of {len(names)} members, and the agreement asks for {terms.threshold}", peer
        )
