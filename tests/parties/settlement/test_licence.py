"""A licence per period: pay for use over time, shared as the final settlement was, in whole minor units."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines, terms_section
from parties.cli import run as entente
from parties.coordinator.closed_runs import find_run
from parties.errors import LedgerError
from parties.ledger.entries import Unit
from parties.ledger.lifecycle import licence_transaction
from parties.ledger.settlement import POT, REWARD, party_account
from parties.ledger.split import split_reward
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.node.settlement_judgement import Judgement, judge
from parties.settlement.closed_run import ClosedRun
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_store import Dossiers, audit, post
from parties.settlement.licence import booked_earnings, licence_due, propose_licence
from parties.settlement.live_record import LiveRecord
from parties.settlement.proposals import propose_correction, propose_dispute, propose_final
from parties.settlement.requests import Asked, Facts
from parties.settlement.roll_over import carried_of, pot_entries
from tests.parties.settlement_rig import RULES, SettledHome

LICENCE = {"per_period": 1_001, "periods": 2}
STAKELESS: dict[str, Any] = RULES | {"stakes": {}, "dispute_deposit": 0}
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


class Licensed:
    """A run with a licence, its books, and two people who approve."""

    def __init__(self, folder: Path, rules: dict[str, Any] | None = None, licence: dict[str, Any] = LICENCE) -> None:
        self.settled = SettledHome(folder, STAKELESS if rules is None else rules, licence=licence)
        self.roster = Roster.load(self.settled.home / "roster.json")
        self.dossiers = Dossiers(self.settled.home)

    @contextmanager
    def books(self) -> Iterator[tuple[LedgerStore, ClosedRun]]:
        with self.settled.ledger() as ledger:
            yield ledger, find_run(self.settled.home, "")

    def post(self, dossier: Dossier, *names: str, at: datetime = LATER) -> int:
        for name in names or ("admin", "bank"):
            dossier = dossier.approved_by(name, self.settled.consortium.identities[name].key, dossier.made_at)
        with self.books() as (ledger, run):
            return sum(not one.repeated for one in post(ledger, self.dossiers, dossier, run, self.roster, at))

    def final(self, folder: Path, **phi: float) -> None:
        live = LiveRecord.model_validate_json(self.settled.live(folder / "live.json", **phi).read_bytes())
        with self.books() as (ledger, run):
            dossier = propose_final(ledger, run, live, "admin", self.settled.closed_at + timedelta(hours=1))
        self.post(dossier)

    def propose(self, at: datetime = LATER) -> Dossier:
        with self.books() as (ledger, run):
            return propose_licence(ledger, run, "admin", at)

    def balance(self, account: str) -> int:
        with self.settled.ledger() as ledger:
            assert ledger.check().ok
            return ledger.balances()[account].posted


@pytest.fixture
def licensed(tmp_path: Path) -> Licensed:
    return Licensed(tmp_path / "home")


def payable(licensed: Licensed, party: str) -> int:
    return licensed.balance(party_account(party, "Payable"))


def test_each_period_is_paid_once_and_shared_as_the_final_settlement(licensed: Licensed, tmp_path: Path) -> None:
    licensed.final(tmp_path, sat=0.04, card=0.02)
    sat, card, pot = payable(licensed, "sat"), payable(licensed, "card"), licensed.balance(POT)
    assert sat > card > 0
    dossier = licensed.propose()
    assert [one.id.rpartition("/")[2] for one in dossier.transactions] == ["1", "2"]
    assert licensed.post(dossier) == 2
    assert licensed.post(dossier) == 0, "the same again changes nothing"
    whole = sat + card
    gained = {"sat": payable(licensed, "sat") - sat, "card": payable(licensed, "card") - card}
    assert sum(gained.values()) == 2 * 1_001, "no minor unit is lost or made"
    assert abs(gained["sat"] - 2 * 1_001 * sat / whole) < 2
    assert licensed.balance(POT) == pot
    assert licensed.balance(REWARD) == 10_000 + 2 * 1_001
    with pytest.raises(LedgerError, match=r"all 2 periods of use of run .* are in the books"):
        licensed.propose()
    with licensed.books() as (ledger, run):
        assert audit(ledger.journal(), licensed.dossiers.all(), {run.run_id: run}, licensed.roster) == []


def test_periods_come_due_one_by_one(licensed: Licensed, tmp_path: Path) -> None:
    licensed.final(tmp_path, sat=0.04, card=0.02)
    agreement = licensed.settled.agreement
    cutoffs = agreement.calendar.cutoffs
    assert licence_due(agreement, 1) == cutoffs[-1] + (cutoffs[-1] - cutoffs[-2])
    with pytest.raises(LedgerError, match=r"period 1 of use is over on .*: wait"):
        licensed.propose(licence_due(agreement, 1) - timedelta(seconds=1))
    early = licensed.propose(licence_due(agreement, 2))
    assert len(early.transactions) == 2
    for number in (0, 3):
        with pytest.raises(LedgerError, match=f"period {number} of use is not agreed: the licence is of 2 periods"):
            licence_due(agreement, number)


def test_whoever_live_data_took_the_reward_from_has_no_licence(licensed: Licensed, tmp_path: Path) -> None:
    licensed.final(tmp_path, sat=0.04, card=-0.5)
    before = payable(licensed, "card")
    licensed.post(licensed.propose())
    assert payable(licensed, "card") == before == 0


def test_what_nobody_earned_rolls_over_and_the_next_pot_has_it(licensed: Licensed, tmp_path: Path) -> None:
    licensed.final(tmp_path, sat=-0.1, card=-0.1)
    pot = licensed.balance(POT)
    dossier = licensed.propose()
    assert any("10.01 USD a period rolls over" in reason for reason in dossier.reasons)
    licensed.post(dossier)
    assert licensed.balance(POT) == pot + 2 * 1_001
    with licensed.settled.ledger() as ledger:
        assert carried_of(pot_entries(ledger)) == pot + 2 * 1_001, "every node reads the same from the entries"


def test_corrections_count_and_disputes_wait(tmp_path: Path) -> None:
    licensed = Licensed(tmp_path / "home", RULES)
    licensed.final(tmp_path, sat=0.04, card=-0.5)
    with licensed.books() as (ledger, run):
        amounts = {"sat": -payable(licensed, "sat"), "card": 500}
        licensed.post(propose_correction(ledger, run, amounts, "other parties", "admin", LATER))
        dispute = propose_dispute(run, "sat", "that was mine", run.closed_at + timedelta(hours=2))  # type: ignore[operator]
    shares = {reason for reason in licensed.propose().reasons if ":" in reason}
    assert any(reason.startswith("card: 10.01") for reason in shares)
    assert any(reason.startswith("sat: 0.00") for reason in shares)
    licensed.post(dispute, "sat")
    with pytest.raises(LedgerError, match="is not judged yet: judge it before the licence is paid"):
        licensed.propose()


def test_before_anything_is_final_and_without_a_licence_nothing_is_paid(licensed: Licensed, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="is not final, so nobody can say who earned it"):
        licensed.propose()
    plain = SettledHome(tmp_path / "plain", STAKELESS)
    with plain.ledger() as ledger, pytest.raises(LedgerError, match="the agreement has no licence"):
        propose_licence(ledger, find_run(plain.home, ""), "admin", LATER)


def test_a_changed_share_is_posted_by_nobody_and_signed_by_no_node(licensed: Licensed, tmp_path: Path) -> None:
    licensed.final(tmp_path, sat=0.04, card=0.02)
    honest = licensed.propose()
    first = honest.transactions[0]
    amounts = dict(first.postings)
    amounts[party_account("sat", "Payable")] += 100
    amounts[party_account("card", "Payable")] -= 100
    other = first.model_copy(update={"postings": tuple(amounts.items())})
    forged = honest.model_copy(update={"transactions": (other, *honest.transactions[1:])})
    with pytest.raises(LedgerError, match="amounts are not what the rules and the books give now"):
        licensed.post(forged)
    with licensed.books() as (ledger, run):
        facts = Facts(earning_entries=booked_earnings(ledger, run.run_id))

    def judged(dossier: Dossier, facts: Facts = facts) -> Judgement:
        key = licensed.settled.consortium.identities["sat"].public_key
        asked = Asked(dossier=dossier, facts=facts)
        return judge(asked, licensed.settled.agreement, licensed.roster, "sat", key, licensed.settled.signed.record)

    found = judged(honest)
    assert not found.confirmed, "a person decides: which corrections there are is the coordinator's word"
    assert "follow from the agreement and the final settlement's entries" in found.notes[0]
    with pytest.raises(LedgerError, match="not shared as the final settlement and its corrections were"):
        judged(forged)
    with pytest.raises(LedgerError, match="is not final"):
        judged(honest, Facts())
    early = honest.model_copy(update={"made_at": licence_due(licensed.settled.agreement, 1) - timedelta(days=1)})
    with pytest.raises(LedgerError, match="is over on"):
        judged(early)


def test_the_command_line_proposes_it(licensed: Licensed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    licensed.final(tmp_path, sat=0.04, card=0.02)
    home = licensed.settled.home
    about = ["settle", "licence", licensed.settled.run_id[:9], "--home", str(home)]
    assert entente([*about, "--dry-run"]) == 0
    assert "use of the factor in periods 1 to 2 of 2, 10.01 USD each" in capsys.readouterr().out
    assert not list(home.glob("settlements/licence-*"))
    assert entente([*about, "--credentials", str(licensed.settled.keys("admin")), "--as", "admin"]) == 0
    assert "1 of 2 approvals" in capsys.readouterr().out
    (file,) = home.glob("settlements/licence-*")
    signing = ["--credentials", str(licensed.settled.keys("bank")), "--as", "bank", "--yes"]
    assert entente(["settle", "approve", str(file), "--home", str(home), *signing]) == 0
    assert "Posted: 2 new entries" in capsys.readouterr().out
    assert entente(["settle", "check", "--home", str(home)]) == 0


def test_the_review_says_it_and_what_has_none_keeps_its_hash(licensed: Licensed) -> None:
    agreement = licensed.settled.agreement
    said = "Use of the factor pays 10.01 USD a period for 2 periods after the calendar"
    assert any(said in line for line in (*agreement_lines(agreement), *terms_section(agreement).lines))
    body = agreement.model_dump(mode="json")
    without = Agreement.model_validate(body | {"reward": {k: v for k, v in body["reward"].items() if k != "licence"}})
    assert "licence" not in without.model_dump(mode="json")["reward"]
    with pytest.raises(ValueError, match=r"needs contributions, a reward\.pot"):
        Agreement.model_validate(body | {"reward": body["reward"] | {"pot": 0}})


def test_the_example_in_the_docs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "incentives.md").read_text(encoding="utf-8")
    shares = split_reward(250_000, {"orbit": 1_557_692, "chatter": 1_125_000, "till": 0}).shares
    amounts = {party: Unit("USD", 2).format(share) for party, share in shares.items()}
    said = f"Of 2,500.00 a period orbit gets {amounts['orbit']} and chatter {amounts['chatter']}, and till nothing"
    assert said in text
    assert shares["till"] == 0


@pytest.mark.parametrize(("shares", "amount"), [({"a": 6, "b": 5}, 10), ({"a": -1}, 10), ({"a": 0}, 0)])
def test_shares_that_cannot_be_are_refused(shares: dict[str, int], amount: int) -> None:
    with pytest.raises(LedgerError, match="shares of a licence must lie between 0 and the"):
        licence_transaction("r", 1, shares, LATER, amount=amount)
