"""N-party private set intersection: blinded lists round a ring, finished tokens matched by the coordinator.

With one secret run scalar a_j per party, the token of an identifier x is H(x)^(a_1 ... a_N). The owner of a
set shuffles it, blinds each H(x) with a one-time scalar r, and lets the list pass once through every other
party, each of which multiplies by its run scalar and keeps the order; back home the owner replaces r by its own run
scalar in one multiplication. So it alone ever sees its tokens next to its identifiers. Sorted, the tokens go
to the coordinator, which returns those that every party sent. ``docs/protocols/alignment.md`` has the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from psi.commitment import (
    AlignmentLimits,
    Commitments,
    PreviousAlignment,
    check_own_size,
    exchange_commitments,
)
from psi.confirmation import confirm, entity_digest, token_digest
from psi.flow import (
    Flow,
    LocalProtocolError,
    Progress,
    ProtocolError,
    Recv,
    RecvAny,
    RemoteProtocolError,
    Send,
    receive,
)
from psi.group import InvalidPoint, Randomness, Scalar, check_points, hash_block, join_points, split_points
from psi.identifiers import check_canonical
from psi.merkle import SaltedSet
from psi.messages import CirculatingList, CommonTokens, FinishedTokens, TooFewCommon
from psi.ot.id_blocks import BlockSet
from psi.padding import padded

__all__ = [
    "Alignment",
    "IntersectionTooSmall",
    "MatchReport",
    "PoolMap",
    "align_party",
    "finished_tokens",
    "match_tokens",
    "received_tokens",
    "too_few",
]

_BLOCK = 1024  # points between two progress reports: about 35 ms of work

T = TypeVar("T")
Block = list[bytes]
PoolMap = Callable[[Callable[[Sequence[bytes]], Block], Iterable[Sequence[bytes]]], Iterable[Block]]
"""As the builtin ``map``, or ``map`` of an executor: results in order, computed in the party's own workers."""


class IntersectionTooSmall(ProtocolError):
    """Fewer entities are common to all parties than the agreed minimum; nobody learned which."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What a party has after alignment.

    ``ids`` is the shared row order, the same at every party. ``digest`` names it (over the common tokens: it tells
    nothing of the ids to whoever lacks the run scalars). ``changed``: ids that each party declares to have changed
    since the set it names. ``salted`` and ``roots`` are for :class:`PreviousAlignment`.
    """

    ids: tuple[str, ...]
    set_sizes: Mapping[str, int]
    digest: bytes
    roots: Mapping[str, bytes]
    salted: SaltedSet | BlockSet = field(repr=False)
    changed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MatchReport:
    """What the coordinator has after alignment. ``digest`` equals every party's :attr:`Alignment.digest`."""

    n_common: int
    set_sizes: Mapping[str, int]
    digest: bytes


def align_party(
    me: str,
    parties: Sequence[str],
    coordinator: str,
    ids: Sequence[str],
    *,
    run: bytes,
    limits: AlignmentLimits,
    randomness: Randomness,
    sign: Callable[[bytes], bytes],
    verify: Callable[[str, bytes, bytes], bool],
    padding: bytes = b"",
    previous: PreviousAlignment | None = None,
    pool_map: PoolMap = map,
) -> Flow[Alignment]:
    """One party's side. ``parties`` is the agreed order of all of them; ``ids`` are canonical and distinct.

    ``sign(data)`` signs with this party's identity key and ``verify(party, data, signature)`` tells whether that
    party's key made the signature. ``padding`` is a secret of its own that ids which fill its list to a bucket are
    drawn from. ``pool_map`` spreads the arithmetic over the party's own workers.

    Learns: which of its own entities every party holds, every party's set size (up to the agreed bucket) and declared
        change.
    Leaks: to the coordinator, how many entities each group of parties shares, never which; a party that colludes
        with the coordinator learns its pairwise intersections; a party that submits ids it does not hold data for
        learns whether all others hold them.
    Model: semi-honest parties and coordinator that do not collude; a list that is malformed, of another length than
        committed, or put in another order, and an answer that differs between parties, end the run.
    Source: Huberman, Franklin and Hogg, EC 1999 (exponentiation in turn); Vaidya and Clifton, J. Computer Security
        13(4), 2005, section 3 (N parties in a ring);
        the one-time factor and group per docs/protocols/alignment.md#the-protocol.

    Raises :class:`IdentifierError` (its text names ids), :class:`LocalProtocolError`, :class:`RemoteProtocolError`
    or :class:`IntersectionTooSmall`.
    """
    by_token, committed = yield from finished_tokens(
        me,
        parties,
        coordinator,
        ids,
        run=run,
        limits=limits,
        randomness=randomness,
        sign=sign,
        verify=verify,
        padding=padding,
        previous=previous,
        pool_map=pool_map,
    )
    common = yield from _receive_common(coordinator, by_token.keys(), limits)
    shared = tuple(by_token[token] for token in common)
    digest = token_digest(committed.digest, common)
    yield from confirm(
        me, parties, coordinator, run, digest, entity_digest(committed.digest, common, shared), sign, verify
    )
    return Alignment(shared, committed.sizes, digest, committed.roots, committed.salted, committed.changed)


def finished_tokens(
    me: str,
    parties: Sequence[str],
    coordinator: str,
    ids: Sequence[str],
    *,
    run: bytes,
    limits: AlignmentLimits,
    randomness: Randomness,
    sign: Callable[[bytes], bytes],
    verify: Callable[[str, bytes, bytes], bool],
    padding: bytes,
    previous: PreviousAlignment | None,
    pool_map: PoolMap,
) -> Flow[tuple[dict[bytes, str], Commitments]]:
    """Commit to the own set, send it round, and send its tokens to the coordinator: token -> own id, padding included.

    Learns: every party's set size and declared change.
    Leaks: to the coordinator, how many entities each group of parties shares.
    Model: as in :func:`align_party`.
    Source: Huberman, Franklin and Hogg, EC 1999 (exponentiation in turn).
    """
    _check_ring(parties, coordinator)
    if me not in parties:
        raise LocalProtocolError(f"{me!r} is not among the parties of this alignment")
    held = check_canonical(ids)
    check_own_size(len(held), limits)
    own = padded(held, limits.bucket, padding or randomness.token_bytes(32))
    committed = yield from exchange_commitments(
        me,
        parties,
        own,
        run=run,
        limits=limits,
        salt=randomness.token_bytes(32),
        sign=sign,
        verify=verify,
        previous=previous,
    )
    if min(committed.sizes.values()) < limits.minimum_common:
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    _shuffle(own, randomness)
    tokens = yield from _circulate(me, parties, own, committed, run, randomness, pool_map)
    yield Send(
        coordinator,
        FinishedTokens(
            sizes=tuple(committed.sizes[name] for name in parties),
            commitments=committed.digest,
            points=join_points(sorted(tokens)),
        ),
    )
    return dict(zip(tokens, own, strict=True)), committed


def _circulate(
    me: str,
    parties: Sequence[str],
    own: Sequence[str],
    committed: Commitments,
    run: bytes,
    randomness: Randomness,
    pool_map: PoolMap,
) -> Flow[list[bytes]]:
    """Send the own list round, work on everybody else's as it passes, and return the own tokens in ``own`` order.

    All N lists travel at once: at hop h every party works on the list of the party h places before it.
    """
    seat, n = parties.index(me), len(parties)
    before, after = parties[seat - 1], parties[(seat + 1) % n]
    run_scalar, one_time = Scalar.random(randomness), Scalar.random(randomness)
    counter = _Counter(sum(committed.sizes.values()) + len(own))

    hashed = (hash_block(run, block) for block in _blocks(own))
    blinded = yield from _multiply(one_time, hashed, me, pool_map, counter)
    yield Send(after, CirculatingList(me, 1, committed.digest, join_points(blinded)))

    for hop in range(1, n):
        owner = parties[seat - hop]
        points = yield from _receive_list(before, owner, hop, committed)
        worked = yield from _multiply(run_scalar, _blocks(points), before, pool_map, counter)
        yield Send(after, CirculatingList(owner, hop + 1, committed.digest, join_points(worked)))

    home = yield from _receive_list(before, me, n, committed)
    finish = one_time.inverse().times(run_scalar)
    return (yield from _multiply(finish, _blocks(home), before, pool_map, counter))


def _receive_list(sender: str, owner: str, hop: int, committed: Commitments) -> Flow[list[bytes]]:
    got = yield from receive(sender, CirculatingList)
    if got.commitments != committed.digest:
        raise RemoteProtocolError("was shown other set commitments than this party: some party sent two", sender)
    if (got.owner, got.hop) != (owner, hop):
        raise RemoteProtocolError(
            f"sent the list of {got.owner[:40]!r} at hop {got.hop} where that of {owner!r} at hop {hop} is due", sender
        )
    return split_points(got.points, committed.sizes[owner], sender)


@dataclass(slots=True)
class _Counter:
    total: int
    done: int = 0

    def advance(self, points: int) -> Progress:
        self.done += points
        return Progress(self.done, self.total, unit="ids")


def _blocks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK))


def _multiply(
    scalar: Scalar, blocks: Iterable[Sequence[bytes]], sender: str, pool_map: PoolMap, counter: _Counter
) -> Flow[list[bytes]]:
    results: list[bytes] = []
    try:
        for block in pool_map(scalar.multiplier(), blocks):
            results.extend(block)
            yield counter.advance(len(block))
    except InvalidPoint:
        raise RemoteProtocolError("sent a point that is not a canonical encoding, or is the identity", sender) from None
    return results


def _shuffle(items: list[str], randomness: Randomness) -> None:
    """Fisher and Yates' uniform permutation, in place."""
    for last in range(len(items) - 1, 0, -1):
        pick = randomness.randbelow(last + 1)
        items[last], items[pick] = items[pick], items[last]


def _receive_common(coordinator: str, own: Iterable[bytes], limits: AlignmentLimits) -> Flow[list[bytes]]:
    which, got = yield RecvAny((Recv(coordinator, CommonTokens), Recv(coordinator, TooFewCommon)))
    if which == 1:
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    assert isinstance(got, CommonTokens)
    common = split_points(got.points, len(got.points) // 32, coordinator)
    if common != sorted(common):
        raise RemoteProtocolError("sent common tokens out of order", coordinator)
    if not set(common) <= set(own):
        raise RemoteProtocolError("sent a common token that is not among this party's tokens", coordinator)
    if len(common) < limits.minimum_common:
        raise RemoteProtocolError(
            f"revealed {len(common)} common entities, below the agreed minimum of {limits.minimum_common}", coordinator
        )
    return common


def match_tokens(coordinator: str, parties: Sequence[str], *, limits: AlignmentLimits) -> Flow[MatchReport]:
    """The coordinator's side: return the tokens that every party sent, or tell everybody to stop.

    Learns: every party's set size, and how many entities each group of parties shares. Tokens are random to it:
        no run scalar, no ids.
    Leaks: to the parties the common tokens, and nothing at all below the minimum.
    Model: semi-honest, not colluding with a party; a false answer is caught when the parties confirm.
    Source: docs/protocols/alignment.md#matching.

    Raises :class:`IntersectionTooSmall` after telling everybody, or :class:`RemoteProtocolError`.
    """
    first, tokens = yield from received_tokens(coordinator, parties, limits)
    common = set.intersection(*tokens)
    if len(common) < limits.minimum_common:
        for name in parties:
            yield Send(name, TooFewCommon(limits.minimum_common))
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    ordered = sorted(common)
    for name in parties:
        yield Send(name, CommonTokens(join_points(ordered)))
    sizes = dict(zip(parties, first.sizes, strict=True))
    return MatchReport(len(ordered), sizes, token_digest(first.commitments, ordered))


def received_tokens(
    coordinator: str, parties: Sequence[str], limits: AlignmentLimits
) -> Flow[tuple[FinishedTokens, list[set[bytes]]]]:
    """Every party's tokens, checked, in agreed order, and the first party's message.

    Learns: every party's set size, and how many entities each group of parties shares.
    Leaks: nothing; this only listens.
    Model: as in :func:`match_tokens`.
    Source: docs/protocols/alignment.md#matching.
    """
    _check_ring(parties, coordinator)
    first: FinishedTokens | None = None
    every: list[set[bytes]] = []
    for seat, name in enumerate(parties):
        got = yield from receive(name, FinishedTokens)
        if first is None:
            first = got
            if len(got.sizes) != len(parties) or not all(0 < size <= limits.largest_list for size in got.sizes):
                raise RemoteProtocolError("sent set sizes that do not fit the agreement", name)
        elif (got.sizes, got.commitments) != (first.sizes, first.commitments):
            raise RemoteProtocolError(f"was shown other set commitments than {parties[0]!r}", name)
        tokens = split_points(got.points, got.sizes[seat], name)
        check_points(tokens, name)
        if tokens != sorted(tokens):
            raise RemoteProtocolError("sent tokens out of order", name)
        every.append(set(tokens))
    assert first is not None
    return first, every


def too_few(minimum: int) -> str:
    """What an :class:`IntersectionTooSmall` says."""
    return (
        f"fewer than {minimum} entities are common to all parties, so no rows were revealed: "
        "check that all name entities alike, or agree on a smaller alignment.minimum_common"
    )


def _check_ring(parties: Sequence[str], coordinator: str) -> None:
    if len(parties) < 2 or len(set(parties)) != len(parties) or coordinator in parties:
        raise LocalProtocolError("alignment needs two or more differently named parties, none of them the coordinator")
