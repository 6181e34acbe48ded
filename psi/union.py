"""Rows over the union: every party has a row for each token of any set, and cannot tell which of its own others hold.

Tokens are those of the ring (:mod:`psi.ring`). In place of the common ones the coordinator returns the sorted union of
all, filled with random points to the sum of the lists' lengths, so that its length says nothing of how much they share.
A party finds its own tokens in it; the others are random points to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psi.commitment import AlignmentLimits, PreviousAlignment
from psi.confirmation import confirm, token_digest
from psi.flow import Flow, RemoteProtocolError, Send, receive
from psi.group import Randomness, check_points, join_points, random_element, split_points
from psi.messages import UnionRows
from psi.padding import FOREIGN, PADDING
from psi.ring import Alignment, MatchReport, PoolMap, finished_tokens, received_tokens

__all__ = ["match_union", "unite_party"]

_NAMED_BY = 16
"""Bytes of a token in the name of a row that a party holds no entity for."""


def unite_party(
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
    previous: PreviousAlignment | None = None,
    pool_map: PoolMap = map,
) -> Flow[Alignment]:
    """One party's side. The result's ``ids`` are one per row: the party's own entity, or ``~ROW.`` and a random name.

    ``padding`` is a secret of the party's own that its padding is drawn from; the rest is as in
    :func:`psi.ring.align_party`.

    Learns: which rows are its own entities, and every party's padded set size and declared change. The number of rows
        is the sum of the padded sizes, whatever the sets share.
    Leaks: to the coordinator, how many entities each group of parties shares, never which; a party that colludes
        with the coordinator learns its pairwise intersections.
    Model: semi-honest parties and coordinator that do not collude. Malformed lists, and an answer that differs between
        parties, end the run. A hop that puts a list into another order is not caught, since no two parties may compare
        what a row stands for: it spoils the run, and learns nothing by it.
    Source: the ring of :mod:`psi.ring`; the union in place of the intersection per
        docs/protocols/alignment.md#rows-over-the-union.

    Raises what :func:`psi.ring.align_party` raises, but for :class:`IntersectionTooSmall`.
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
    got = yield from receive(coordinator, UnionRows)
    rows = split_points(got.points, sum(committed.sizes.values()), coordinator)
    check_points(rows, coordinator)
    if rows != sorted(rows):
        raise RemoteProtocolError("sent the rows of the union out of order", coordinator)
    if not by_token.keys() <= set(rows):
        raise RemoteProtocolError("left a token of this party out of the union", coordinator)
    digest = token_digest(committed.digest, rows)
    # what a row stands for is nobody else's business, so the second digest is the first again
    yield from confirm(me, parties, coordinator, run, digest, digest, sign, verify)
    names = (by_token.get(row, PADDING) for row in rows)
    shown = tuple(
        f"{FOREIGN}{row[:_NAMED_BY].hex().upper()}" if name.startswith(PADDING) else name
        for row, name in zip(rows, names, strict=True)
    )
    return Alignment(shown, committed.sizes, digest, committed.roots, committed.salted, committed.changed)


def match_union(
    coordinator: str, parties: Sequence[str], *, limits: AlignmentLimits, randomness: Randomness
) -> Flow[MatchReport]:
    """The coordinator's side: return the union of all tokens, filled with random points.

    Learns: every party's padded set size, and how many entities each group of parties shares. Tokens are random to it.
    Leaks: to the parties nothing beside the rows, whose number the padded sizes give.
    Model: semi-honest, not colluding with a party; an answer that differs between parties is caught when they confirm.
    Source: docs/protocols/alignment.md#rows-over-the-union.

    ``MatchReport.n_common`` is the number of rows. Raises :class:`RemoteProtocolError`.
    """
    first, tokens = yield from received_tokens(coordinator, parties, limits)
    union = set().union(*tokens)
    wanted = sum(first.sizes)
    while len(union) < wanted:
        union.add(random_element(randomness))
    rows = sorted(union)
    for name in parties:
        yield Send(name, UnionRows(join_points(rows)))
    sizes = dict(zip(parties, first.sizes, strict=True))
    return MatchReport(len(rows), sizes, token_digest(first.commitments, rows))
