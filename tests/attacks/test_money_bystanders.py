"""Attack: money moves by people whom it does not concern, or by those alone who get it.

Two bystanders of a consortium book a stake that never arrived, let a rival's stake out, or pay somebody; or the payees
approve each other. Whom it concerns follows from the accounts that a dossier moves, not from what it says of itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parties.errors import LedgerError
from parties.ledger.entries import State
from parties.ledger.settlement import CASH, party_account
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.node.settlement_judgement import judge
from parties.settlement import dossier_store
from parties.settlement.cash import (
    propose_exit,
    propose_fee_income,
    propose_payouts,
    propose_receipt,
    propose_release,
)
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_store import Dossiers, audit, post, requirement
from parties.settlement.requests import Asked
from tests.parties.settlement_rig import SettledHome
from vfl.protocols.fee_reports import FeeResult

NOW = datetime(2027, 1, 31, tzinfo=UTC)


@pytest.fixture
def settled(tmp_path: Path) -> SettledHome:
    return SettledHome(tmp_path / "home", {"stakes": {"sat": 8_000, "card": 2_000}, "live_periods": 0})


def roster(settled: SettledHome) -> Roster:
    return Roster.load(settled.home / "roster.json")


def signed(settled: SettledHome, dossier: Dossier, *names: str) -> Dossier:
    for name in names:
        dossier = dossier.approved_by(name, settled.consortium.identities[name].key, NOW)
    return dossier


def posts(settled: SettledHome, ledger: LedgerStore, dossier: Dossier, *names: str) -> None:
    post(ledger, Dossiers(settled.home), signed(settled, dossier, *names), None, roster(settled), NOW)


def payable(settled: SettledHome, ledger: LedgerStore, *names: str) -> None:
    """Stake of these parties leaves, so that something is payable to each."""
    for name in names:
        asked = NOW - timedelta(days=90)
        posts(settled, ledger, propose_exit(name, 500, asked), name)
        posts(settled, ledger, propose_release(ledger, name, 30, "admin", NOW), "admin", name)


def receipt(ledger: LedgerStore) -> Dossier:
    return propose_receipt("sat", 700, "x", "admin", NOW, stake=True)


def release(ledger: LedgerStore) -> Dossier:
    return propose_release(ledger, "sat", 30, "admin", NOW)


def pay(ledger: LedgerStore) -> Dossier:
    return propose_payouts(ledger, ["sat"], "2026-06", "admin", NOW)


STEPS = {"receipt": receipt, "release": release, "pay": pay}


def proposed(settled: SettledHome, ledger: LedgerStore, kind: str) -> Dossier:
    if kind == "release":
        posts(settled, ledger, propose_exit("sat", 500, NOW - timedelta(days=90)), "sat")
    elif kind == "pay":
        payable(settled, ledger, "sat")
    return STEPS[kind](ledger)


@pytest.mark.parametrize("kind", STEPS)
def test_two_bystanders_move_nobodys_money(settled: SettledHome, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with settled.ledger() as ledger:
        dossier, head = proposed(settled, ledger, kind), ledger.head()
        for names in (("bank", "card"), ("admin", "bank"), ("admin", "bank", "card")):
            with pytest.raises(LedgerError, match=r"1 more approval needed from different people \(sat\)"):
                posts(settled, ledger, dossier, *names)
        assert ledger.head() == head
        with monkeypatch.context() as patch:
            patch.setattr(dossier_store, "_concerned", lambda _: ())
            assert requirement(dossier, None, roster(settled)).missing(("bank", "card")) == 0, "so it was"
        posts(settled, ledger, dossier, "sat", "card")
        assert ledger.head() != head


@pytest.mark.parametrize("kind", STEPS)
def test_nor_does_the_payee_alone(settled: SettledHome, kind: str) -> None:
    with settled.ledger() as ledger:
        dossier, head = proposed(settled, ledger, kind), ledger.head()
        with pytest.raises(LedgerError, match="1 more approval needed"):
            posts(settled, ledger, dossier, "sat")
        assert ledger.head() == head


def test_fees_are_booked_only_with_everybody_who_reported(
    settled: SettledHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two bystanders book fees as paid in that never were: later rewards would rest on money that is not there."""
    with settled.ledger() as ledger:
        result = FeeResult("2026Q1", 900, ("bank", "card", "sat"), ())
        dossier = propose_fee_income(ledger, settled.agreement, result, "ab" * 32, "admin", NOW)
        head = ledger.head()
        for names in (("bank", "card"), ("admin", "bank", "card")):
            with pytest.raises(LedgerError, match=r"approvals? needed from different people \(sat\)"):
                posts(settled, ledger, dossier, *names)
        with pytest.raises(LedgerError, match="1 more approval needed"):
            posts(settled, ledger, dossier, "bank", "card", "sat")
        for less in ({}, {"reporters": ["bank", "card"]}, {"reporters": "bank"}):
            fewer = dossier.model_copy(update={"basis": less})
            with pytest.raises(LedgerError, match="books fees without naming 3 parties or more that reported them"):
                posts(settled, ledger, fewer, "bank", "card", "admin")
        assert ledger.head() == head
        with monkeypatch.context() as patch:
            patch.setattr(dossier_store, "_concerned", lambda _: ())
            assert requirement(dossier, None, roster(settled)).missing(("bank", "card")) == 0, "so it was"
        posts(settled, ledger, dossier, "bank", "card", "sat", "admin")
        assert ledger.head() != head


def test_payees_do_not_pay_each_other(settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        payable(settled, ledger, "sat", "card")
        dossier = propose_payouts(ledger, ["sat", "card"], "2026-06", "sat", NOW)
        with pytest.raises(LedgerError, match="1 more approval needed"):
            posts(settled, ledger, dossier, "sat", "card")
        with pytest.raises(LedgerError, match=r"1 more approval needed from different people \(card\)"):
            posts(settled, ledger, dossier, "sat", "bank", "admin")
        posts(settled, ledger, dossier, "sat", "card", "bank")


def with_step(dossier: Dossier, **changes: Any) -> Dossier:
    return dossier.model_copy(update={"transactions": (dossier.transactions[0].model_copy(update=changes),)})


def test_whom_it_concerns_is_not_what_the_dossier_says(settled: SettledHome) -> None:
    """Two who want a third one's money name themselves; the accounts tell."""
    with settled.ledger() as ledger:
        payable(settled, ledger, "sat")
        mine = pay(ledger)
        stranger = mine.model_copy(update={"party": "card"})
        assert set(requirement(stranger, None, roster(settled)).must) == {"card", "sat"}
        named = propose_receipt("card", 700, "x", "admin", NOW, stake=True)
        moved = with_step(named, postings=((CASH, 700), (party_account("sat", "Stake"), -700)))
        others: list[tuple[Dossier, dict[str, Any]]] = [
            (mine, {"postings": ((party_account("sat", "Stake"), 500), (CASH, -500))}),
            (mine, {"postings": ((party_account("sat", "Payable"), 500), (party_account("card", "Payable"), -500))}),
            (mine, {"postings": ((party_account("sat", "Payable"), -500), (CASH, 500))}),
            (mine, {"state": State.PENDING}),
            (named, {"postings": ((party_account("sat", "Stake"), 700), (party_account("card", "Stake"), -700))}),
            (named, {"id": "subscription/x"}),
        ]
        for forged in (moved, *(with_step(dossier, **changes) for dossier, changes in others)):
            with pytest.raises(LedgerError, match="posts something else than a"):
                requirement(forged, None, roster(settled))
        nobody = propose_receipt("card", 700, "x", "admin", NOW, stake=False).model_copy(update={"party": ""})
        with pytest.raises(LedgerError, match="posts something else than a receipt may"):
            requirement(nobody, None, roster(settled))


def test_a_release_names_the_request_it_ends(settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        for name in ("sat", "card"):
            posts(settled, ledger, propose_exit(name, 500, NOW - timedelta(days=90)), name)
        theirs = propose_release(ledger, "sat", 30, "admin", NOW)
        for forged in (theirs.model_copy(update={"party": "card"}), with_step(theirs, resolves="stake-exit/card/x/1")):
            with pytest.raises(LedgerError, match="posts something else than a release may"):
                requirement(forged, None, roster(settled))


def test_a_dossier_of_before_is_kept_and_never_posted_anew(settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        old = receipt(ledger).model_copy(update={"version": 1})
        with pytest.raises(LedgerError, match="made before money needed the parties it concerns"):
            posts(settled, ledger, old, "bank", "card")
        key = settled.consortium.identities["sat"].public_key
        with pytest.raises(LedgerError, match="made before money needed the parties it concerns"):
            judge(Asked(dossier=old), None, roster(settled), "sat", key, None)
        # what earlier books hold by it is no fault of theirs
        whole = signed(settled, old, "bank", "card")
        ledger.append_all(whole.intended())
        faults = audit(list(ledger.journal()), {Path("old"): whole}, {}, roster(settled))
        assert not [fault for fault in faults if "stake/x" in fault]


def test_a_posting_by_bystanders_is_found_in_the_books(settled: SettledHome) -> None:
    with settled.ledger() as ledger:
        theirs = signed(settled, receipt(ledger), "bank", "card")
        ledger.append_all(theirs.intended())  # by a coordinator that asks nobody
        faults = audit(list(ledger.journal()), {Path("theirs"): theirs}, {}, roster(settled))
        assert any("'stake/x': 1 more approval needed" in fault for fault in faults)


def test_money_of_who_has_left_waits_for_them(settled: SettledHome) -> None:
    left = Roster({name: member for name, member in roster(settled).items() if name != "sat"})
    with settled.ledger() as ledger:
        dossier = receipt(ledger)
        with pytest.raises(LedgerError, match="concerns sat, who must approve it and is no member"):
            requirement(dossier, None, left)
