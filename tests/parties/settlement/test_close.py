"""A run closed under the settlement rules of its agreement, on real books."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.terms import RewardTerms, SettlementTerms
from parties.agreement.text import agreement_lines
from parties.errors import LedgerError
from parties.ledger.core import Unit
from parties.ledger.settlement import POT, chart_of_accounts, party_account
from parties.ledger.stakes import exit_request, stake_deposit
from parties.ledger.store import LedgerStore
from parties.settlement.closing import plan_close, settle_run
from parties.settlement.contribution import ContributionRecord
from tests.parties.coordinator_rig import Consortium

AT = datetime(2026, 1, 31, tzinfo=UTC)
SAID = ContributionRecord.model_validate(
    {
        "method": "masked",
        "parties": {"sat": {"phi": 0.04, "standard_error": 0.01}, "card": {"phi": 0.005, "standard_error": 0.01}},
    }
)
RULES: dict[str, Any] = {"stakes": {"sat": 8_000, "card": 2_000}, "clip": 0.25}


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("homes"))


def agreed(consortium: Consortium, nonce: str = "1", **settlement: Any) -> Agreement:
    reward = {
        "pot": 10_000,
        "unit": "USD",
        "scale": 2,
        "risk_aversion": 1.0,
        "uplift_level": 1.0,
        "rows": "any",
        "settlement": RULES | settlement,
    }
    return consortium.agreement(nonce, reward=reward)


@pytest.fixture
def ledger(tmp_path: Path):
    with LedgerStore(tmp_path / "ledger.db") as made:
        made.open_accounts(chart_of_accounts(Unit("USD", 2), ["bank", "sat", "card"]), AT)
        made.append(stake_deposit("1", "sat", 8_000, AT))
        made.append(stake_deposit("2", "card", 2_000, AT))
        yield made


def test_terms_without_settlement_rules_hash_as_before() -> None:
    kept = {"unit", "scale", "pot", "risk_aversion", "uplift_level", "rows", "rows_within_hours", "outputs"}
    assert set(RewardTerms().model_dump(mode="json")) == kept
    assert RewardTerms.model_validate(RewardTerms().model_dump(mode="json")) == RewardTerms()
    terms = RewardTerms(settlement=SettlementTerms(clip=0.5))
    assert terms.model_dump(mode="json")["settlement"]["clip"] == 0.5
    assert RewardTerms.model_validate_json(terms.model_dump_json()) == terms


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"stakes": {"bank": 5}}, "who are no feature parties"),
        ({"approvers": {"ann": "aa" * 32}}, "names 1 people, 2 approvals are needed"),
        ({"approvers": {"ann": "aa" * 32, "bob": "aa" * 32}}, "two names share a key"),
        ({"approvals": 1}, "greater than or equal to 2"),
        ({"clip": 0.0}, "greater than 0"),
    ],
)
def test_rules_that_make_no_sense(consortium: Consortium, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        agreed(consortium, **wrong)


def test_who_signs_reads_what_is_at_stake(consortium: Consortium) -> None:
    plain = consortium.agreement(reward={"pot": 10_001, "unit": "JPY", "scale": 0, "risk_aversion": 0})
    assert "Reward pot: 10001 JPY, by contribution less 0 standard errors" in agreement_lines(plain)
    said = "\n".join(agreement_lines(agreed(consortium, forfeits="burned", cooling_days=9)))
    for part in ("sat 80.00, card 20.00 USD", "Up to 25% of it", "consortium's income", "2 people", "after 9 days"):
        assert part in said


def test_a_close_books_rewards_pledges_and_what_rolls_over(consortium: Consortium, ledger: LedgerStore) -> None:
    terms = agreed(consortium)
    report = settle_run(ledger, terms, SAID, AT)
    assert (report.rewards, report.rolled_over) == ({"sat": 2_000, "card": 0}, 8_000)
    balances = ledger.balances()
    assert balances[party_account("sat", "Pending")].pending == 2_000
    assert (balances[party_account("sat", "Stake")].lowest, balances[party_account("card", "Stake")].lowest) == (
        6_000,
        1_500,
    )
    assert balances[POT].pending == 8_000 + 2_000 + 500
    head = ledger.head()
    assert settle_run(ledger, terms, SAID, AT) == report
    assert ledger.head() == head
    assert ledger.check().ok
    with pytest.raises(LedgerError, match="rests on other contributions"):
        settle_run(ledger, terms, None, AT)


def test_stake_that_asked_to_leave_is_pledged_and_asks_again(consortium: Consortium, ledger: LedgerStore) -> None:
    ledger.append(exit_request("sat", 7_000, AT - timedelta(days=3)))
    report = settle_run(ledger, agreed(consortium), SAID, AT)
    assert [i.rpartition("/")[2] for i in report.transactions[:2]] == ["reclaimed", "2"]
    assert report.rewards["sat"] == 2_000, "stake that has not left still counts"
    waiting = [e for e in ledger.journal(run_id="stake-exit/sat") if e.waiting]
    assert [e.transaction.postings[0].amount for e in waiting] == [6_000]
    assert ledger.balances()[party_account("sat", "Stake")].lowest == 0


def test_a_stake_that_is_not_there_does_not_count(consortium: Consortium, ledger: LedgerStore) -> None:
    terms = agreed(consortium, stakes={"sat": 80_000, "card": 1})
    plan = plan_close(ledger, terms, SAID, AT)
    assert plan.close.awards["sat"].limit == 2_000
    assert ledger.journal()[-1].transaction.id == "stake/2", "a plan writes nothing"


def test_where_the_close_needs_approvals_nothing_is_posted(consortium: Consortium, ledger: LedgerStore) -> None:
    before = ledger.head()
    report = settle_run(ledger, agreed(consortium, at_close="approved"), SAID, AT)
    assert (report.transactions, report.rewards) == ((), {"sat": 2_000, "card": 0})
    assert ledger.head() == before


def test_runs_that_close_at_once_pledge_a_stake_once(consortium: Consortium, ledger: LedgerStore) -> None:
    terms = [agreed(consortium, str(nonce), clip=1.0, stakes={"sat": 3_000}) for nonce in range(4)]
    faults: list[BaseException] = []

    def close(one: Agreement) -> None:
        try:
            settle_run(ledger, one, SAID, AT)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=close, args=(one,)) for one in [*terms, *terms]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(ledger.journal()) == 2 + 4
    assert ledger.balances()[party_account("sat", "Stake")].lowest == 0
    assert ledger.balances()[party_account("sat", "Pending")].pending == 8_000
    assert ledger.check().ok
