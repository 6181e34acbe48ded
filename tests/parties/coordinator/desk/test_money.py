"""The ledger's doors: what each role sees, files for other programs, and the standing of the books."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.desk import money
from parties.coordinator.desk.doors import Caller, pass_through
from parties.errors import AgreementError, ConfigError, LedgerError
from parties.ledger.store import LedgerStore
from tests.conformance.test_ledger_store import attempt, remove_guards
from tests.parties.settlement_rig import RULES, SettledHome

ADMIN, AUDITOR, READER = Caller("ada", "admin"), Caller("aud", "auditor"), Caller("rea", "reader")
SAT, NOBODY = Caller("olga", "operator", "sat"), Caller("otto", "operator")


class Desk:
    """The doors over one settled run's ledger."""

    def __init__(self, home: SettledHome, ledger: LedgerStore) -> None:
        self.home, self.ledger = home, ledger
        self.keeper = Bookkeeper(ledger)
        engine: Any = SimpleNamespace(all_runs=list)
        self.doors = money.doors(ledger, self.keeper, engine)

    def ask(self, what: str, caller: Caller = ADMIN, **arguments: Any) -> Any:
        return json.loads(self.fetch(what, caller, **arguments))

    def fetch(self, what: str, caller: Caller = ADMIN, **arguments: Any) -> bytes:
        return pass_through(self.doors, f"ledger/{what}", arguments, caller)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home = SettledHome(tmp_path, RULES)
    with home.ledger() as ledger:
        made = Desk(home, ledger)
        yield made
        made.keeper.close()


def test_balances_follow_the_role(desk: Desk) -> None:
    everything = desk.ask("balances")
    assert everything["scope"] == "all"
    assert {a["account"]: a["posted"] for a in everything["accounts"]}["Assets:Consortium:Cash"] == 60_000
    kinds = {(a["party"], a["kind"]) for a in everything["accounts"]}
    assert {("sat", "Stake"), ("sat", "Pending"), ("sat", "Payable"), ("", "consortium")} <= kinds
    assert desk.ask("balances", AUDITOR) == everything
    own = desk.ask("balances", SAT)
    assert own["scope"] == "party"
    assert {a["party"] for a in own["accounts"]} == {"sat"}
    assert (desk.ask("balances", READER)["scope"], desk.ask("balances", READER)["accounts"]) == ("none", [])
    assert desk.ask("balances", NOBODY)["accounts"] == [], "an operator without a party has no account"


def test_an_operator_sees_what_moves_its_own_accounts_and_no_other_posting(desk: Desk) -> None:
    everything = desk.ask("journal")["entries"]
    own = desk.ask("journal", SAT)["entries"]
    assert 0 < len(own) < len(everything)
    assert {line["account"].split(":")[2] for entry in own for line in entry["lines"]} == {"sat"}
    settlement = next(entry for entry in own if entry["transaction"].startswith("settlement/"))
    whole = next(entry for entry in everything if entry["transaction"] == settlement["transaction"])
    assert settlement["hidden"] == len(whole["lines"]) - len(settlement["lines"]) > 0
    assert whole["hidden"] == 0
    assert desk.ask("journal", SAT, party="card") == {"entries": [], "following": ""}
    assert desk.ask("journal", SAT, account="Assets:Consortium:Cash")["entries"] == []
    assert desk.ask("journal", NOBODY)["entries"] == []
    with pytest.raises(AgreementError, match="signed in as reader"):
        desk.ask("journal", READER)


def test_the_journal_is_searched_and_paged(desk: Desk) -> None:
    first = desk.ask("journal", limit=2)
    rest = desk.ask("journal", limit=50, after=first["following"])
    together = [entry["transaction"] for entry in (*first["entries"], *rest["entries"])]
    assert together == [entry["transaction"] for entry in desk.ask("journal", limit=50)["entries"]]
    assert rest["following"] == ""
    found = desk.ask("journal", text="stake of sat")["entries"]
    assert [entry["transaction"] for entry in found] == ["stake/sat"]
    assert [e["state"] for e in desk.ask("journal", run_id=desk.home.run_id[:9])["entries"]] == ["pending"]
    day = f"{desk.home.closed_at:%Y-%m-%d}"
    assert {e["at"][:10] for e in desk.ask("journal", first=day, last=day)["entries"]} == {day}
    for wrong in ({"limit": 0}, {"limit": 10**6}, {"party": "Not A Name"}, {"first": "9999-12-31"}, {"colour": "red"}):
        with pytest.raises(ConfigError):
            desk.ask("journal", **wrong)


def test_files_hold_what_the_role_may_see(desk: Desk) -> None:
    rows = list(csv.DictReader(io.StringIO(desk.fetch("file").decode())))
    assert len(rows) == sum(len(e["lines"]) for e in desk.ask("journal", limit=500)["entries"])
    own = list(csv.DictReader(io.StringIO(desk.fetch("file", SAT).decode())))
    assert {row["account"].split(":")[2] for row in own} == {"sat"}
    found = list(csv.DictReader(io.StringIO(desk.fetch("file", text="subscription").decode())))
    assert {row["transaction"] for row in found} == {"subscription/1"}
    text = desk.fetch("file", AUDITOR, form="beancount").decode()
    assert "balance Assets:Consortium:Cash  600.00 USD" in text
    with pytest.raises(AgreementError, match="every account"):
        desk.fetch("file", SAT, form="beancount")


def test_a_file_that_would_be_too_long_says_how_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(money, "_MOST_EXPORTED", 2)
    with pytest.raises(LedgerError, match="narrow the search"):
        desk.fetch("file")
    with pytest.raises(LedgerError, match="entente ledger export"):
        desk.fetch("file", form="beancount")


def test_statements_are_those_of_the_whole_journal(desk: Desk) -> None:
    from parties.ledger.statements import statement, statement_csv
    from parties.settlement.dossier_parts import METHOD

    made = desk.fetch("statement", party="sat", form="csv", first="2020-01-01", last="2199-01-01").decode()
    journal, accounts = desk.ledger.journal(), desk.ledger.accounts()
    from datetime import UTC, datetime

    whole = statement(
        journal, accounts, "sat", datetime(2020, 1, 1, tzinfo=UTC), datetime(2199, 1, 2, tzinfo=UTC), method=METHOD
    )
    assert made == statement_csv(whole)
    assert desk.fetch("statement", SAT, party="sat").startswith(b"%PDF")
    page = desk.fetch("statement", SAT, party="sat", form="html").decode()
    assert whole.digest in page
    with pytest.raises(AgreementError, match="works for sat"):
        desk.fetch("statement", SAT, party="card")
    with pytest.raises(LedgerError, match="no account"):
        desk.fetch("statement", party="stranger")
    with pytest.raises(LedgerError, match="empty"):
        desk.fetch("statement", party="sat", first="2030-01-02", last="2020-01-01")


def test_the_standing_is_read_once_and_then_only_what_is_new(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found = desk.ask("standing", READER)
    assert (found["complete"], found["balanced"], found["finding"]) == (True, True, "")
    assert found["checked"] == found["entries"] == desk.ledger.head().sequence
    pages: list[int] = []
    follow = desk.ledger.follow

    def counted(verifier: Any) -> Any:
        pages.append(verifier.head().sequence)
        return follow(verifier)

    monkeypatch.setattr(desk.ledger, "follow", counted)
    assert desk.ask("standing") == found
    assert pages == [], "nothing is new, so nothing is read"
    with pytest.raises(AgreementError):
        desk.ask("verify", SAT)
    desk.ask("verify", AUDITOR)
    assert pages[0] == 0, "asked for, everything is verified again"


def test_a_journal_that_was_changed_is_found_when_all_is_verified_again(desk: Desk) -> None:
    assert desk.ask("standing")["balanced"]
    remove_guards(desk.ledger)
    assert attempt(desk.ledger, "UPDATE transactions SET narration = 'y' WHERE id = 'stake/sat'") == ""
    found = desk.ask("verify")
    assert not found["balanced"]
    assert "does not carry the hash" in found["finding"]
    fresh = Bookkeeper(desk.ledger)
    assert "does not carry the hash" in fresh.current().finding


def test_much_to_verify_goes_on_beside(tmp_path: Path) -> None:
    from tests.parties.coordinator_rig import wait_until

    home = SettledHome(tmp_path, RULES)
    with home.ledger() as ledger:
        keeper = Bookkeeper(ledger, breath=0.0)
        first = keeper.standing()
        assert (first.complete, first.balanced, first.checked) == (False, True, 0)
        keeper.begin_anew()
        wait_until(lambda: keeper.standing().complete, "the books are verified beside")
        keeper.close()
        keeper.begin_anew()
        assert not keeper.standing().complete, "once closed, nothing is read any more"
