"""The journal a page at a time: filtered, ordered and paged by the database, at any length.

A page begins after a *cursor*, the key of the last row of the page before it in the chosen order, so a page deep inside
costs as much as the first. Text is searched as it stands: each word anywhere in a transaction's narration, id, run id
or evidence; ASCII letters match in either case.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select, tuple_

from parties.errors import ConfigError
from parties.ledger import schema
from parties.ledger.entries import Entry, State, instant
from parties.ledger.records import read_transactions

__all__ = ["Criteria", "Found", "Order", "Standing", "read_moving", "read_named", "search"]

Order = Literal["newest", "oldest", "date", "amount"]
Standing = Literal["", "pending", "posted", "voided"]

_T = schema.transactions.c
_P = schema.postings.c
_B = schema.balances.c
_WORDS = 8
_NAMED = 1000
_FEW = 10_000


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is looked for. ``order``: by place in the journal, by date (latest first), by the largest debit.

    ``accounts``: transactions that move one of them, a resolution of what was pending there included. ``run_id`` may be
    the beginning of one. ``state``: *pending* still waits, *posted* counts, *voided* was cancelled or cancels.
    ``first`` and ``until`` (aware, the end not included) bound the timestamp. ``after``: the cursor of the page before.
    """

    text: str = ""
    accounts: tuple[str, ...] = ()
    run_id: str = ""
    state: Standing = ""
    first: datetime | None = None
    until: datetime | None = None
    order: Order = "newest"
    after: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Found:
    """One page. ``following`` is the cursor of the next, "" at the end."""

    entries: tuple[Entry, ...]
    following: str


def search(connection: Connection, criteria: Criteria) -> Found:
    """The page that ``criteria`` names. Raises :class:`ConfigError` for a cursor that is none of this order."""
    wanted = _filters(connection, criteria)
    keys: Sequence[tuple[Any, ...]]
    if criteria.order in ("newest", "oldest"):
        keys = _by_place(connection, criteria, wanted)
    elif criteria.order == "date":
        keys = _by_date(connection, criteria, wanted)
    else:
        keys = _by_amount(connection, criteria, wanted)
    page = keys[: criteria.limit]
    entries = read_transactions(connection, [key[-1] for key in page])
    following = ":".join(map(str, page[-1])) if len(keys) > len(page) else ""
    return Found(tuple(entries[key[-1]] for key in page), following)


def read_moving(connection: Connection, accounts: Collection[str]) -> list[Entry]:
    """Every transaction that moves one of the accounts, with those it resolves, in journal order."""
    moving = set(connection.execute(select(_B.seq).where(_B.account.in_(accounts)).distinct()).scalars())
    resolver, resolved = schema.transactions.alias(), schema.transactions.alias()
    for start in range(0, len(chosen := sorted(moving)), _NAMED):
        query = select(resolved.c.seq).join_from(resolver, resolved, resolved.c.id == resolver.c.resolves)
        moving.update(connection.execute(query.where(resolver.c.seq.in_(chosen[start : start + _NAMED]))).scalars())
    return list(read_transactions(connection, sorted(moving)).values())


def read_named(connection: Connection, ids: Collection[str]) -> dict[str, Entry]:
    """The transactions with these ids, by id."""
    places: list[int] = []
    for start in range(0, len(chosen := sorted(ids)), _NAMED):
        query = select(_T.seq).where(_T.id.in_(chosen[start : start + _NAMED]))
        places += connection.execute(query).scalars()
    return {entry.transaction.id: entry for entry in read_transactions(connection, sorted(places)).values()}


def _filters(connection: Connection, criteria: Criteria) -> list[ColumnElement[bool]]:
    """What a transaction must be, its accounts aside."""
    wanted: list[ColumnElement[bool]] = []
    everything = _T.narration + " " + _T.id + " " + _T.run_id + " " + _T.evidence
    for word in sorted(criteria.text.split()[:_WORDS], key=len, reverse=True):
        if connection.dialect.name == "sqlite":
            wanted.append(everything.contains(word, autoescape=True))  # LIKE looks past ASCII case by itself
        else:
            wanted.append(everything.icontains(word, autoescape=True))
    if criteria.run_id:
        # run ids are hex: "g" comes after every one that begins so, and a range can use the index
        wanted.append(and_(_T.run_id >= criteria.run_id, _T.run_id < criteria.run_id + "g"))
    if criteria.first is not None:
        wanted.append(_T.timestamp >= instant(criteria.first))
    if criteria.until is not None:
        wanted.append(_T.timestamp < instant(criteria.until))
    if criteria.state:
        wanted.append(_standing(criteria.state))
    return wanted


def _standing(state: Standing) -> ColumnElement[bool]:
    resolver = schema.transactions.alias()
    resolved = exists().where(resolver.c.resolves == _T.id)
    if state == "pending":
        return and_(_T.state == State.PENDING.value, ~resolved)
    ended = exists().where(resolver.c.resolves == _T.id, resolver.c.state == state)
    return or_(_T.state == state, and_(_T.state == State.PENDING.value, ended))


def _touches(connection: Connection, accounts: Sequence[str], place: ColumnElement[int]) -> list[ColumnElement[bool]]:
    """Whether the transaction at ``place`` moves one of the accounts: looked up where many do, listed where few do."""
    if not accounts:
        return []
    moving = select(_B.seq).where(_B.account.in_(accounts))
    few = connection.execute(select(func.count()).select_from(moving.limit(_FEW + 1).subquery())).scalar_one() <= _FEW
    return [place.in_(moving) if few else exists().where(_B.seq == place, _B.account.in_(accounts))]


def _by_place(connection: Connection, criteria: Criteria, wanted: list[ColumnElement[bool]]) -> list[tuple[int]]:
    """One query for each account, which its own index answers in order; their union has the page."""
    newest = criteria.order == "newest"
    after = _cursor(criteria, 1)
    places: set[int] = set()
    for account in criteria.accounts or ("",):
        query: Select[Any] = select(_T.seq).where(*wanted)
        key = _T.seq
        if account:
            key = _B.seq
            query = query.join_from(schema.balances, schema.transactions, _T.seq == _B.seq).where(_B.account == account)
        if after:
            query = query.where(key < after[0] if newest else key > after[0])
        query = query.order_by(key.desc() if newest else key).limit(criteria.limit + 1)
        places.update(connection.execute(query).scalars())
    ordered = sorted(places, reverse=newest)
    return [(place,) for place in ordered[: criteria.limit + 1]]


def _by_date(connection: Connection, criteria: Criteria, wanted: list[ColumnElement[bool]]) -> list[tuple[str, int]]:
    """Latest first; of one moment, the one recorded last first. The cursor's colons are those of the time, and one."""
    query = select(_T.timestamp, _T.seq).where(*wanted, *_touches(connection, criteria.accounts, _T.seq))
    if criteria.after:
        found = re.fullmatch(r"([0-9T:.-]{26}Z):([0-9]{1,18})", criteria.after)
        if found is None:
            raise _foreign()
        query = query.where(tuple_(_T.timestamp, _T.seq) < tuple_(found[1], int(found[2])))
    rows = connection.execute(query.order_by(_T.timestamp.desc(), _T.seq.desc()).limit(criteria.limit + 1))
    return [(row.timestamp, row.seq) for row in rows]


def _by_amount(connection: Connection, criteria: Criteria, wanted: list[ColumnElement[bool]]) -> list[tuple[int, int]]:
    """Largest first, by each transaction's largest debit; one without a debit of its own (a void) comes nowhere."""
    other = schema.postings.alias()
    larger = or_(other.c.amount > _P.amount, and_(other.c.amount == _P.amount, other.c.position < _P.position))
    query = (
        select(_P.amount, _P.seq)
        .join_from(schema.postings, schema.transactions, _T.seq == _P.seq)
        .where(_P.amount > 0, *_touches(connection, criteria.accounts, _P.seq))
        .where(~exists().where(other.c.seq == _P.seq, larger), *wanted)
    )
    if after := _cursor(criteria, 2):
        query = query.where(tuple_(_P.amount, _P.seq) < tuple_(*after))
    rows = connection.execute(query.order_by(_P.amount.desc(), _P.seq.desc()).limit(criteria.limit + 1))
    return [(row.amount, row.seq) for row in rows]


def _cursor(criteria: Criteria, parts: int) -> tuple[int, ...]:
    if not criteria.after:
        return ()
    found = criteria.after.split(":")
    if len(found) != parts or not all(re.fullmatch("[0-9]{1,18}", part) for part in found):
        raise _foreign()
    return tuple(map(int, found))


def _foreign() -> ConfigError:
    return ConfigError("this page follows one in another order: begin at the first page again")
