"""The journal's search on SQLite and PostgreSQL, against a plain oracle over the whole journal; and its indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect

from parties.errors import ConfigError
from parties.ledger.core import Posting, Transaction
from parties.ledger.entries import Entry, State
from parties.ledger.movements import movements
from parties.ledger.search import Criteria
from parties.ledger.store import LedgerStore
from parties.ledger.verify import Verifier
from tests.conformance.test_ledger_store import (
    ACCOUNTS,
    CASH,
    DAY,
    EURO_CASH,
    EURO_INCOME,
    INCOME,
    PAYABLE,
    PENDING,
    REWARD,
    addresses,
    attempt,
    postgresql,
    remove_guards,
    transfer,
)

__all__ = ["postgresql"]

RUNS = ("ab12" * 16, "ab34" * 16, "cd56" * 16)


def history() -> Iterator[Transaction]:
    """A little of everything: moments that coincide, amounts that do, pending, posted and voided, two units."""
    for i in range(30):
        at = DAY[1] + timedelta(hours=(7 * i) % 30)
        words = ("Subscription", "100% sure_thing", "Rückzahlung")[i % 3]
        yield Transaction(
            f"in/{i}", at, f"{words} {i}", (Posting(EURO_CASH, 1 + i % 7), Posting(EURO_INCOME, -1 - i % 7))
        )
    for i, run in enumerate(RUNS):
        yield transfer(
            f"settlement/{run}", REWARD, PENDING, 2, day=2, state=State.PENDING, run_id=run, evidence=f"e{i}"
        )
    made_final = (Posting(PENDING, 2), Posting(PAYABLE, -2))
    yield Transaction("final", DAY[3], "final", made_final, resolves=f"settlement/{RUNS[0]}", run_id=RUNS[0])
    yield Transaction("void", DAY[3], "never live", (), State.VOIDED, f"settlement/{RUNS[1]}", RUNS[1])
    yield transfer("sub", CASH, INCOME, 3, day=0)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def written(request: pytest.FixtureRequest) -> Iterator[LedgerStore]:
    with addresses(request.param, request) as fresh, LedgerStore(fresh()) as store:
        store.open_accounts(ACCOUNTS, DAY[0])
        store.append_all(history())
        yield store


def expected(journal: list[Entry], asked: Criteria) -> list[str]:
    """The ids that fit, in order, by reading everything."""
    moved = {entry.transaction.id: {m.account for m in moves} for entry, moves in movements(journal)}
    found = []
    for entry in journal:
        made = entry.transaction
        everything = f"{made.narration} {made.id} {made.run_id} {made.evidence}".lower()
        state = entry.resolved_as.value if entry.resolved_as is not None else made.state.value
        fits = all(word.lower() in everything for word in asked.text.split())
        fits = fits and (not asked.accounts or bool(moved[made.id] & set(asked.accounts)))
        fits = fits and made.run_id.startswith(asked.run_id) and (not asked.state or state == asked.state)
        fits = fits and (asked.first is None or made.timestamp >= asked.first)
        if fits and (asked.until is None or made.timestamp < asked.until):
            found.append(entry)
    largest = {e.sequence: max((p.amount for p in e.transaction.postings if p.amount > 0), default=0) for e in found}
    if asked.order == "amount":
        found = [entry for entry in found if largest[entry.sequence]]
    keys: dict[str, Callable[[Entry], object]] = {
        "newest": lambda e: -e.sequence,
        "oldest": lambda e: e.sequence,
        "date": lambda e: (-e.transaction.timestamp.timestamp(), -e.sequence),
        "amount": lambda e: (-largest[e.sequence], -e.sequence),
    }
    return [entry.transaction.id for entry in sorted(found, key=keys[asked.order])]


def paged(store: LedgerStore, asked: Criteria) -> list[str]:
    """Every page, one after the other."""
    found: list[str] = []
    after = ""
    for _ in range(200):
        page = store.search(Criteria(**{f: getattr(asked, f) for f in asked.__slots__ if f != "after"}, after=after))
        assert len(page.entries) <= asked.limit
        found += [entry.transaction.id for entry in page.entries]
        if not page.following:
            return found
        assert len(page.entries) == asked.limit
        after = page.following
    raise AssertionError("the pages never end")


moments = st.none() | st.integers(0, 100).map(lambda hours: DAY[0] + timedelta(hours=hours))


@given(
    text=st.sampled_from(
        ["", "subscription", "SUB 1", "100%", "sure_thing", "e1", "zzz", "a_b", "ab12", "Rückzahlung"]
    ),
    accounts=st.lists(st.sampled_from([a.name for a in ACCOUNTS]), max_size=3, unique=True).map(tuple),
    run_id=st.sampled_from(["", "ab", RUNS[0], "cd56", "ff"]),
    state=st.sampled_from(["", "pending", "posted", "voided"]),
    first=moments,
    until=moments,
    order=st.sampled_from(["newest", "oldest", "date", "amount"]),
    limit=st.sampled_from([1, 3, 7, 100]),
)
@settings(max_examples=120, deadline=None)
def test_pages_hold_what_a_reading_of_everything_finds(
    written: LedgerStore, text, accounts, run_id, state, first, until, order, limit
) -> None:
    asked = Criteria(text, accounts, run_id, state, first, until, order, "", limit)
    assert paged(written, asked) == expected(written.journal(), asked)


def test_entries_of_a_page_are_those_of_the_journal(written: LedgerStore) -> None:
    by_id = {entry.transaction.id: entry for entry in written.journal()}
    page = written.search(Criteria(order="amount", limit=500))
    assert page.entries
    assert all(by_id[entry.transaction.id] == entry for entry in page.entries)
    assert written.entries(["void", "no such", "sub"]) == {"void": by_id["void"], "sub": by_id["sub"]}


def test_what_moves_an_account_comes_with_what_it_resolves(written: LedgerStore) -> None:
    entries, head = written.journal_of([PAYABLE])
    assert [entry.transaction.id for entry in entries] == [f"settlement/{RUNS[0]}", "final"]
    assert head == written.head()
    entries, _ = written.journal_of([PENDING])
    assert {e.transaction.id for e in entries} == {*(f"settlement/{run}" for run in RUNS), "final", "void"}


@pytest.mark.parametrize(
    ("order", "after"), [("newest", "x"), ("newest", "1:2"), ("date", "12"), ("amount", "12"), ("oldest", "9" * 30)]
)
def test_a_cursor_of_another_order_is_refused(written: LedgerStore, order, after: str) -> None:
    with pytest.raises(ConfigError, match="begin at the first page"):
        written.search(Criteria(order=order, after=after))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_ledger_of_an_earlier_version_gets_its_indexes(kind: str, request: pytest.FixtureRequest) -> None:
    names = {"transactions_by_date", "transactions_by_state", "postings_by_amount"}
    with addresses(kind, request) as fresh:
        url = fresh()
        with LedgerStore(url) as store:
            for name in names:
                assert attempt(store, f"DROP INDEX {name}") == ""
        LedgerStore(url).close()
        engine = create_engine(url)
        found = [inspect(engine).get_indexes(table) for table in ("transactions", "postings")]
        engine.dispose()
    assert names <= {index["name"] for index in chain(*found)}


def test_verification_goes_on_from_where_it_stopped(written: LedgerStore) -> None:
    whole, later = Verifier(), Verifier()
    while (report := written.follow(whole)) is None:
        pass
    assert report.ok
    assert report == written.check()
    written.append(transfer(f"late/{datetime.now(UTC):%f}", EURO_CASH, EURO_INCOME, 2, day=4))
    assert written.follow(whole) is None, "the new entry is a page of its own"
    again = written.follow(whole)
    assert again is not None
    assert again.ok
    while written.follow(later) is None:
        pass
    assert (later.head(), later.balances()) == (whole.head(), whole.balances())


def test_what_was_added_wrongly_is_found_by_going_on(request: pytest.FixtureRequest) -> None:
    with addresses("sqlite", request) as fresh, LedgerStore(fresh()) as store:
        store.open_accounts(ACCOUNTS, DAY[0])
        store.append(transfer("a", EURO_CASH, EURO_INCOME, 2))
        verifier = Verifier()
        while store.follow(verifier) is None:
            pass
        store.append(transfer("b", EURO_CASH, EURO_INCOME, 2))
        remove_guards(store)
        assert attempt(store, "UPDATE postings SET amount = 2 * amount WHERE seq = 9") == ""
        assert store.follow(verifier) is not None
        assert "entry 9" in verifier.fault
        report = store.follow(verifier)
        assert report is not None
        assert not report.ok
