"""The rules of the ledger: each refusal by name, their order, and the hash chain."""

from __future__ import annotations

import doctest
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import parties.ledger.core
import parties.ledger.settlement
import parties.ledger.split
from parties.ledger.core import Account, Ledger, Posting, Reason, Refused, State, Transaction, Unit
from parties.ledger.entries import GENESIS, LARGEST_AMOUNT, LARGEST_TOTAL, Side, canonical
from parties.ledger.rules import admit

AT = datetime(2026, 3, 1, tzinfo=UTC)
USD = Unit("USD", 2)
CASH, INCOME, REWARD, OWED = "Assets:Cash", "Income:Fees", "Expenses:Reward", "Liabilities:Party:orbit:Payable"


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.open_accounts(
        [
            Account(CASH, USD, least=0),
            Account(INCOME, USD, most=1000),
            Account(REWARD, USD),
            Account(OWED, USD),
            Account("Assets:Euro", Unit("EUR", 2)),
        ],
        AT,
    )
    waits = (Posting(REWARD, 10), Posting(OWED, -10))
    made.append(Transaction("waits", AT, "x", waits, State.PENDING))
    made.append(Transaction("done", AT, "x", waits, State.PENDING))
    made.append(Transaction("end", AT, "x", (), State.POSTED, "done"))
    made.lock(AT, AT + timedelta(days=9))
    return made


BASE = Transaction("new", AT + timedelta(days=1), "a narration", (Posting(REWARD, 7), Posting(OWED, -7)))


def more(*postings: Posting) -> Callable[[Transaction], Transaction]:
    return lambda t: replace(t, postings=(*t.postings, *postings))


# One fault for every reason a transaction can be refused for, in the documented order.
FAULTS: dict[Reason, Callable[[Transaction], Transaction]] = {
    Reason.ID_MALFORMED: lambda t: replace(t, id="with space"),
    Reason.TIMESTAMP_MALFORMED: lambda t: replace(t, timestamp=t.timestamp.replace(tzinfo=None)),
    Reason.TEXT_MALFORMED: lambda t: replace(t, narration="two\nlines"),
    Reason.STATE_MALFORMED: lambda t: replace(t, state=State.PENDING, resolves="waits"),
    Reason.POSTINGS_MISSING: lambda t: replace(t, postings=()),
    Reason.AMOUNT_MALFORMED: more(Posting("Expenses:Zero", 0)),
    Reason.ACCOUNT_REPEATED: more(Posting(REWARD, 3), Posting(REWARD, -3)),
    Reason.ID_REUSED: lambda t: replace(t, id="end"),
    Reason.ACCOUNT_UNKNOWN: more(Posting("Expenses:Unknown", 2)),
    Reason.UNBALANCED: more(Posting("Assets:Euro", 1)),
    Reason.PERIOD_LOCKED: lambda t: replace(t, timestamp=AT if t.timestamp.tzinfo else AT.replace(tzinfo=None)),
    Reason.PENDING_UNKNOWN: lambda t: replace(t, resolves="unseen"),
    Reason.NOT_PENDING: lambda t: replace(t, resolves="end"),
    Reason.ALREADY_RESOLVED: lambda t: replace(t, resolves="done"),
    Reason.BELOW_LEAST: more(Posting(CASH, -1), Posting("Liabilities:Party:orbit:Payable", 1)),
    Reason.ABOVE_MOST: more(Posting(INCOME, -1001), Posting(CASH, 1001)),
}
# these overwrite what the other needs, or would need two of one account
CLASHES = {
    (Reason.STATE_MALFORMED, Reason.POSTINGS_MISSING),
    (Reason.POSTINGS_MISSING, Reason.PENDING_UNKNOWN),
    (Reason.POSTINGS_MISSING, Reason.NOT_PENDING),
    (Reason.POSTINGS_MISSING, Reason.ALREADY_RESOLVED),
    *((Reason.POSTINGS_MISSING, r) for r, f in FAULTS.items() if f.__qualname__.startswith("more.")),
    *combinations((Reason.PENDING_UNKNOWN, Reason.NOT_PENDING, Reason.ALREADY_RESOLVED), 2),
    *((Reason.STATE_MALFORMED, r) for r in (Reason.PENDING_UNKNOWN, Reason.NOT_PENDING, Reason.ALREADY_RESOLVED)),
    (Reason.ID_MALFORMED, Reason.ID_REUSED),
}


def reason_of(ledger: Ledger, transaction: Transaction) -> Reason:
    with pytest.raises(Refused) as caught:
        admit(ledger, transaction)
    return caught.value.reason


def test_the_base_is_accepted(ledger: Ledger) -> None:
    assert not ledger.append(BASE).repeated


def test_every_reason_for_a_transaction_is_here() -> None:
    of_others = [Reason.TOTAL_TOO_LARGE, *list(Reason)[list(Reason).index(Reason.ABOVE_MOST) + 1 :]]
    assert [r for r in Reason if r not in of_others] == list(FAULTS)


@pytest.mark.parametrize("reason", FAULTS)
def test_each_fault_has_its_name_and_one_sentence(ledger: Ledger, reason: Reason) -> None:
    faulty = FAULTS[reason](BASE)
    if reason is Reason.BELOW_LEAST:
        faulty = replace(BASE, postings=(Posting(REWARD, 1), Posting(CASH, -1)))
    with pytest.raises(Refused) as caught:
        ledger.append(faulty)
    assert caught.value.reason is reason
    assert repr(faulty.id) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in combinations(FAULTS, 2) if pair not in CLASHES and Reason.BELOW_LEAST not in pair],
)
def test_the_earlier_reason_wins(ledger: Ledger, first: Reason, second: Reason) -> None:
    assert reason_of(ledger, FAULTS[second](FAULTS[first](BASE))) is first


def test_below_least_comes_before_above_most(ledger: Ledger) -> None:
    postings = (Posting(INCOME, -1001), Posting(CASH, -1), Posting(REWARD, 1002))
    assert reason_of(ledger, replace(BASE, postings=postings)) is Reason.BELOW_LEAST


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": ""}, Reason.ID_MALFORMED),
        ({"id": "x" * 201}, Reason.ID_MALFORMED),
        ({"id": "naïve"}, Reason.ID_MALFORMED),
        ({"id": 7}, Reason.ID_MALFORMED),
        ({"timestamp": AT.astimezone(timezone(timedelta(hours=1)))}, Reason.TIMESTAMP_MALFORMED),
        ({"timestamp": "2026-03-02"}, Reason.TIMESTAMP_MALFORMED),
        ({"timestamp": AT.replace(year=1969)}, Reason.TIMESTAMP_MALFORMED),
        ({"narration": ""}, Reason.TEXT_MALFORMED),
        ({"narration": "x" * 501}, Reason.TEXT_MALFORMED),
        ({"narration": "bell\x07"}, Reason.TEXT_MALFORMED),
        ({"narration": "half \ud800 pair"}, Reason.TEXT_MALFORMED),
        ({"run_id": "two words"}, Reason.TEXT_MALFORMED),
        ({"evidence": "é"}, Reason.TEXT_MALFORMED),
        ({"state": "posted-ish"}, Reason.STATE_MALFORMED),
        ({"state": State.VOIDED}, Reason.STATE_MALFORMED),
        ({"state": State.VOIDED, "resolves": "waits"}, Reason.STATE_MALFORMED),
        ({"resolves": ""}, Reason.STATE_MALFORMED),
        ({"postings": (Posting(REWARD, 1.5), Posting(OWED, -1.5))}, Reason.AMOUNT_MALFORMED),
        ({"postings": (Posting(REWARD, True), Posting(OWED, -1))}, Reason.AMOUNT_MALFORMED),
        ({"postings": (Posting(REWARD, LARGEST_AMOUNT + 1), Posting(OWED, -1))}, Reason.AMOUNT_MALFORMED),
        ({"postings": tuple(Posting(f"Assets:A{i}", 1) for i in range(513))}, Reason.POSTINGS_MISSING),
        ({"postings": (Posting(REWARD, 1),)}, Reason.UNBALANCED),
    ],
)
def test_what_is_malformed(ledger: Ledger, change: dict[str, Any], reason: Reason) -> None:
    assert reason_of(ledger, replace(BASE, **change)) is reason


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        (Account("Assets", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Cash:Till", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Assets:cash", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Assets:Cash\n", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Assets::Cash", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Liabilities:Party:Orbit:Payable", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Liabilities:Party", USD), Reason.ACCOUNT_MALFORMED),
        (Account("Assets" + ":A" * 7, USD), Reason.ACCOUNT_MALFORMED),
        (Account("Assets:Bank", Unit("usd", 2)), Reason.UNIT_MALFORMED),
        (Account("Assets:Bank", Unit("USD", -1)), Reason.UNIT_MALFORMED),
        (Account("Assets:Bank", Unit("USD", 19)), Reason.UNIT_MALFORMED),
        (Account("Assets:Bank", USD, least=1), Reason.LIMITS_MALFORMED),
        (Account("Assets:Bank", USD, most=-1), Reason.LIMITS_MALFORMED),
        (Account("Assets:Bank", USD, most=10**16), Reason.LIMITS_MALFORMED),
        (Account("Assets:Bank", Unit("USD", 4)), Reason.UNIT_CHANGED),
        (Account(CASH, USD), Reason.ACCOUNT_CHANGED),
    ],
)
def test_accounts_that_are_refused(ledger: Ledger, account: Account, reason: Reason) -> None:
    head = ledger.head()
    with pytest.raises(Refused) as caught:
        ledger.open_accounts([Account("Assets:Other", USD), account], AT)
    assert caught.value.reason is reason
    assert (ledger.head(), ledger.account("Assets:Other")) == (head, None)


@pytest.mark.parametrize(
    "name", ["Assets:Cash", "Liabilities:Party:a_b-1:Stake", "Equity:Opening:Y2026", "Income:A:B:C"]
)
def test_account_names_that_are_accepted(name: str) -> None:
    ledger = Ledger()
    ledger.open_accounts([Account(name, USD)], AT)
    assert list(ledger.accounts()) == [name]


def test_normal_sides() -> None:
    kinds = {"Assets": "debit", "Liabilities": "credit", "Equity": "credit", "Income": "credit", "Expenses": "debit"}
    for kind, side in kinds.items():
        assert Account(f"{kind}:Some", USD).normal is Side(side)


def test_the_chain_is_plain_sha256_over_canonical_json() -> None:
    ledger = Ledger()
    ledger.open_accounts([Account(CASH, USD, least=0), Account(INCOME, USD)], AT)
    ledger.append(Transaction("t", AT, "Zoë", (Posting(CASH, 3), Posting(INCOME, -3)), run_id="r"))
    bodies: list[dict[str, Any]] = [
        {"kind": "account", "name": CASH, "unit": "USD", "scale": 2, "least": 0, "most": None,
         "timestamp": "2026-03-01T00:00:00.000000Z"},
        {"kind": "account", "name": INCOME, "unit": "USD", "scale": 2, "least": None, "most": None,
         "timestamp": "2026-03-01T00:00:00.000000Z"},
        {"kind": "transaction", "id": "t", "timestamp": "2026-03-01T00:00:00.000000Z", "narration": "Zoë",
         "postings": [[CASH, 3], [INCOME, -3]], "state": "posted", "resolves": None, "run_id": "r", "evidence": ""},
    ]  # fmt: skip
    digest = hashlib.sha256(b"entente/ledger/1\x00").digest()
    assert digest.hex() == GENESIS
    for body in bodies:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(b"entente/ledger/1\x00" + digest + text.encode()).digest()
    assert ledger.head().digest == digest.hex()


def test_everything_in_a_transaction_is_hashed() -> None:
    changed = [
        replace(BASE, id="other"),
        replace(BASE, timestamp=BASE.timestamp + timedelta(microseconds=1)),
        replace(BASE, narration="another"),
        replace(BASE, postings=BASE.postings[::-1]),
        replace(BASE, postings=(Posting(REWARD, 8), Posting(OWED, -8))),
        replace(BASE, state=State.PENDING),
        replace(BASE, resolves="waits"),
        replace(BASE, run_id="r"),
        replace(BASE, evidence="e"),
    ]
    assert len({canonical(t) for t in [BASE, *changed]}) == len(changed) + 1


def test_a_failed_batch_leaves_no_resolution_behind(ledger: Ledger) -> None:
    resolve = Transaction("r", BASE.timestamp, "x", (), State.POSTED, "waits")
    with pytest.raises(Refused):
        ledger.append_all([resolve, replace(BASE, postings=())])
    assert ledger.entry("waits") is not None
    assert not ledger.append(resolve).repeated


@given(st.integers(-LARGEST_TOTAL, LARGEST_TOTAL), st.integers(0, 18))
def test_amounts_are_written_exactly(amount: int, scale: int) -> None:
    text = Unit("USD", scale).format(amount)
    assert int(text.replace(".", "")) == amount
    assert len(text.partition(".")[2]) == scale
    assert text.lstrip("-").partition(".")[0] == str(abs(amount) // 10**scale)


@pytest.mark.parametrize("module", [parties.ledger.core, parties.ledger.split, parties.ledger.settlement])
def test_examples_in_the_documentation(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0
