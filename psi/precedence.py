"""Which member of several serves an entity that they share: the first in an agreed order, and each other one learns to
leave it.

Members hold some of the same rows, which all of them know by number. In the agreed order each later member asks, for
its own rows, whether an earlier one serves them. Every earlier member answers for all rows with one bit: whether it
serves the row, under a mask that cancels over the earlier members, and under a pad of the row that only an oblivious
evaluation opens. A row is served by one member at most, so the bits of the earlier members add up to the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from psi.group import (
    InvalidPoint,
    Randomness,
    Scalar,
    check_points,
    hash_block,
    join_points,
    random_element,
    split_points,
)
from psi.messages import PrecedenceAnswered, PrecedenceAsked, PrecedenceHeld, PrecedenceSeed

__all__ = ["Precedence", "PrecedenceTerms", "RowsTold", "rows_digest", "take_precedence"]

_SEED_BYTES = 32
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class RowsTold:
    """What a member has told of its rows: salted hashes of those it holds and of those it serves; the second is empty
    until it knows.
    """

    held: bytes
    served: bytes = b""


@dataclass(frozen=True, slots=True)
class PrecedenceTerms:
    """members: in the agreed order, the first serves all that it holds. rows: how many there are. asked: how many
    points each member asks for, fillers among them, which is all that shows of how many rows it holds.
    """

    members: tuple[str, ...]
    rows: int
    asked: Mapping[str, int]

    def __post_init__(self) -> None:
        if len(self.members) < 2 or len(set(self.members)) != len(self.members):
            raise ValueError("an order of precedence names two members or more, each once")


@dataclass(frozen=True, slots=True)
class Precedence:
    """served: which rows this member serves. told: what every member, this one too, has told of its own."""

    served: tuple[bool, ...]
    told: Mapping[str, RowsTold]


def rows_digest(run: bytes, member: str, salt: bytes, rows: Sequence[bool], kind: Literal["held", "served"]) -> bytes:
    """SHA-256 that fixes a member's rows and tells nothing of them without its ``salt``.

    kind: without it the two that a member tells would be alike, and say that it leaves no row, where it leaves none.
    """
    head = f"entente/precedence/2/{kind}/{member}/{len(rows)}/".encode()
    return hashlib.sha256(head + len(run).to_bytes(4, "big") + run + salt + _packed(rows)).digest()


def take_precedence(
    me: str,
    terms: PrecedenceTerms,
    held: Sequence[bool],
    *,
    run: bytes,
    salt: bytes,
    randomness: Randomness,
    served: Sequence[bool] | None = None,
    known: Mapping[str, RowsTold] | None = None,
    heard: Callable[[Mapping[str, RowsTold], bool], None] = lambda told, answers: None,
) -> Flow[Precedence]:
    """One member's side.

    held: which rows it holds. salt: 32 secret bytes, the same in every attempt. served: what came of an earlier attempt
    here. known: what others told in an earlier attempt. heard: keeps what they tell now, before anything is answered,
    and hears whether anything will be.

    Learns: of each of its own rows whether a member before it in the order serves it; not which, unless one alone is
        before it. The first member learns nothing. Where every member knows its rows from an earlier attempt, nothing.
    Leaks: to the members after it in the order, of their rows alone, whether it or another before them serves them; to
        those before it nothing but the agreed number of points; to everyone salted hashes of its rows.
    Model: semi-honest members. One that colludes with members before it learns which of the rows that it asks for the
        others serve. One that asks for rows that it does not hold learns as much of these, in each attempt as many as
        the agreed number of points, and one that answers falsely makes another leave a row that nobody serves, or serve
        it twice: both cheat and are not caught. One that tells other rows than in an earlier attempt is. A member that
        kept what came of an earlier attempt keeps to it, whatever it is answered now. Of one that lost it, who answers
        otherwise in a further attempt learns one bit: whether it holds any row so answered, since it then tells other
        rows that it serves than before, and the attempt ends.
    Source: Jarecki and Liu, TCC 2009 (oblivious PRF by exponents); docs/groups.md#who-serves-a-shared-entity.

    Raises :class:`LocalProtocolError` or :class:`RemoteProtocolError`.
    """
    if me not in terms.members or len(held) != terms.rows:
        raise LocalProtocolError("the order of precedence is of other members or rows than this party's")
    if sum(held) > terms.asked[me]:
        raise LocalProtocolError("this party holds more rows than it may ask for: it told a smaller set at alignment")
    mine = RowsTold(
        rows_digest(run, me, salt, held, "held"),
        b"" if served is None else rows_digest(run, me, salt, served, "served"),
    )
    known = known or {}
    told = yield from _exchanged(me, terms, mine, 0, known)
    # who lost what came of an earlier attempt is still held to it
    fixed = {name: RowsTold(one.held, one.served or known.get(name, one).served) for name, one in told.items()}
    done = served is not None and all(one.served for one in told.values())
    heard(fixed, not done)
    if done:
        assert served is not None
        return Precedence(tuple(served), told)
    found = yield from _found(me, terms, held, run, randomness, served)
    mine = RowsTold(mine.held, rows_digest(run, me, salt, found, "served"))
    ended = yield from _exchanged(me, terms, mine, 1, fixed)
    return Precedence(found, ended)


def _exchanged(
    me: str, terms: PrecedenceTerms, mine: RowsTold, number: int, before: Mapping[str, RowsTold]
) -> Flow[dict[str, RowsTold]]:
    """What every member tells of its rows, held against what it told before."""
    others = [name for name in terms.members if name != me]
    for name in others:
        yield Send(name, PrecedenceHeld(number, mine.held, mine.served))
    told = {me: mine}
    for name in others:
        got = yield from receive(name, PrecedenceHeld)
        if got.number != number or len(got.held) != _DIGEST_BYTES or len(got.served) not in (0, _DIGEST_BYTES):
            raise RemoteProtocolError("told of its rows at another place of the protocol, or in another form", name)
        if number and not got.served:
            raise RemoteProtocolError("does not tell which rows it serves", name)
        earlier = before.get(name)
        if earlier is not None and (
            got.held != earlier.held or (earlier.served and got.served and got.served != earlier.served)
        ):
            raise RemoteProtocolError(
                "tells other rows than in an earlier attempt of this run: they are fixed by the first", name
            )
        told[name] = RowsTold(got.held, got.served)
    return told


def _found(
    me: str,
    terms: PrecedenceTerms,
    held: Sequence[bool],
    run: bytes,
    randomness: Randomness,
    kept: Sequence[bool] | None,
) -> Flow[tuple[bool, ...]]:
    """Ask those before this member, and answer those after it; by what it kept, where it kept what it serves."""
    seat, members = terms.members.index(me), terms.members
    before, after = members[:seat], members[seat + 1 :]
    named = hash_block(run, [str(row) for row in range(terms.rows)])
    blind = Scalar.random(randomness)
    if before:
        points = [named[row] for row in range(terms.rows) if held[row]]
        points += [random_element(randomness) for _ in range(terms.asked[me] - len(points))]
        asked = PrecedenceAsked(join_points(blind.multiplier()(points)))
        for name in before:
            yield Send(name, asked)
    seeds: dict[str, bytes] = {}
    # the last member answers nobody, so it shares no mask
    for name in after[:-1]:
        seeds[name] = randomness.token_bytes(_SEED_BYTES)
        yield Send(name, PrecedenceSeed(seeds[name]))
    for name in before if after else ():
        got = yield from receive(name, PrecedenceSeed)
        if len(got.seed) != _SEED_BYTES:
            raise RemoteProtocolError(f"sent a seed of {len(got.seed)} bytes, not {_SEED_BYTES}", name)
        seeds[name] = got.seed
    served = yield from _answers(me, terms, held, before, blind)
    if kept is not None:
        # to end here where the answers changed would tell who changed one whether this member holds that row
        served = tuple(kept)
    for name in after:
        yield from _answered(name, terms, served, named, randomness, _mask(seeds, members, name, terms.rows))
    return served


def _answers(
    me: str, terms: PrecedenceTerms, held: Sequence[bool], before: Sequence[str], blind: Scalar
) -> Flow[tuple[bool, ...]]:
    """The rows that are this member's to serve: those that it holds and no member before it serves."""
    if not before:
        return tuple(held)
    mine, total, unblind = [row for row in range(terms.rows) if held[row]], 0, blind.inverse().multiplier()
    for name in before:
        got = yield from receive(name, PrecedenceAnswered)
        points = split_points(got.points, terms.asked[me], name)
        check_points(points, name)
        if len(got.rows) != _width(terms.rows):
            raise RemoteProtocolError(f"answered for other rows than the {terms.rows} of the run", name)
        total ^= int.from_bytes(got.rows, "big")
        for row, point in zip(mine, unblind(points[: len(mine)]), strict=True):
            total ^= _pad(point) << row
    taken = {row for row in mine if total >> row & 1}
    return tuple(bool(has) and row not in taken for row, has in enumerate(held))


def _answered(
    to: str,
    terms: PrecedenceTerms,
    served: Sequence[bool],
    named: Sequence[bytes],
    randomness: Randomness,
    mask: int,
) -> Flow[None]:
    """Answer one later member: its points raised to a fresh key, and a bit for each row under that key's pad."""
    got = yield from receive(to, PrecedenceAsked)
    points = split_points(got.points, terms.asked[to], to)
    raised = Scalar.random(randomness).multiplier()
    try:
        made = raised(points)
    except InvalidPoint:
        raise RemoteProtocolError("sent a point that is not a canonical encoding, or is the identity", to) from None
    bits = mask
    for row, point in enumerate(raised(named)):
        bits ^= (_pad(point) ^ served[row]) << row
    yield Send(to, PrecedenceAnswered(join_points(made), bits.to_bytes(_width(terms.rows), "big")))


def _pad(point: bytes) -> int:
    """The bit that covers a row, of its point under a key that its owner draws for one answer."""
    return hashlib.sha256(b"entente/precedence/1/pad/" + point).digest()[0] & 1


def _mask(seeds: Mapping[str, bytes], members: Sequence[str], to: str, rows: int) -> int:
    """A bit for each row that cancels over the members before ``to``."""
    total = 0
    for name in members[: members.index(to)]:
        if name in seeds:
            drawn = hashlib.shake_256(f"entente/precedence/1/mask/{to}/".encode() + seeds[name])
            total ^= int.from_bytes(drawn.digest(_width(rows)), "big") & ((1 << rows) - 1)
    return total


def _width(rows: int) -> int:
    return (rows + 7) // 8


def _packed(rows: Sequence[bool]) -> bytes:
    return sum(1 << row for row, flag in enumerate(rows) if flag).to_bytes(_width(len(rows)), "big")
