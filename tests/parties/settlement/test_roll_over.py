"""What rolled over is what the books' own entries leave, and nobody can leave one out later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.errors import LedgerError
from parties.ledger.core import Unit
from parties.ledger.lifecycle import close_transaction, resolve_transaction
from parties.ledger.settlement import POT, chart_of_accounts, subscription, void_settlement
from parties.ledger.store import LedgerStore
from parties.settlement.roll_over import BookedEntry, carried_of, check_remembered, pot_entries

AT = datetime(2026, 1, 31, tzinfo=UTC)


STEPS = st.tuples(st.integers(0, 500), st.integers(0, 500), st.sampled_from(["wait", "final", "void"]))


@given(st.lists(STEPS, max_size=6))
@settings(max_examples=25, deadline=None)
def test_the_entries_leave_what_the_ledger_says(steps: list[tuple[int, int, str]]) -> None:
    with TemporaryDirectory() as folder, LedgerStore(Path(folder) / "l.db") as ledger:
        ledger.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit"]), AT)
        ledger.append(subscription("1", 10_000, AT))
        for number, (pot, share, then) in enumerate(steps):
            free = ledger.balances()[POT].lowest
            close = close_transaction(f"r{number}", {"orbit": min(share, pot + free)}, AT, pot=pot, pledges={})
            if not close.postings:
                continue
            ledger.append(close)
            if then == "final":
                paid = {"orbit": min(share, pot + free) // 2}
                ledger.append(resolve_transaction(close, AT + timedelta(days=1), paid, {}))
            elif then == "void":
                ledger.append(void_settlement(close, AT + timedelta(days=1), "x"))
        told = pot_entries(ledger)
        assert carried_of(told) == ledger.balances()[POT].lowest
        check_remembered(told[:2], told)
        for sequence in [entry.sequence for entry in told]:
            before = ledger.balance_before(POT, sequence)
            assert carried_of(pot_entries(ledger, sequence)) == max(0, before.lowest if before else 0)


@pytest.fixture
def told(tmp_path: Path) -> tuple[BookedEntry, ...]:
    with LedgerStore(tmp_path / "l.db") as ledger:
        ledger.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit"]), AT)
        for run in ("r1", "r2"):
            close = close_transaction(run, {"orbit": 0}, AT, pot=100, pledges={})
            ledger.append_all([close, resolve_transaction(close, AT, {}, {})])
        return pot_entries(ledger)


def test_an_entry_that_is_changed_left_out_or_told_twice_is_refused(told: tuple[BookedEntry, ...]) -> None:
    assert carried_of(told) == 200
    more = told[0].transaction.model_copy(update={"postings": (("Expenses:Reward", 900), (POT, -900))})
    with pytest.raises(LedgerError, match="does not have the digest"):
        carried_of((told[0].model_copy(update={"transaction": more}), *told[1:]))
    with pytest.raises(LedgerError, match="out of order"):
        carried_of((told[1], told[0]))
    with pytest.raises(LedgerError, match="out of order"):
        carried_of((told[0], told[0]))
    assert carried_of(told[2:]) == 100, "what is left out is not seen in one list"
    with pytest.raises(LedgerError, match="otherwise than before"):
        check_remembered(told[:2], told[2:])
    check_remembered(told, told[:2])
