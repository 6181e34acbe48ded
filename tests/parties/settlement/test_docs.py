"""The settlement section of docs/incentives.md: every number in it is computed again, and booked."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime

import pytest

from parties.agreement.terms import RewardTerms, SettlementTerms
from parties.ledger.core import Ledger, Posting, Transaction, Unit
from parties.ledger.lifecycle import close_transaction, resolve_transaction
from parties.ledger.rewards import Claim, Close, Rules, close_run, resolve_run
from parties.ledger.settlement import POT, REWARD, chart_of_accounts, subscription
from parties.ledger.stakes import stake_deposit
from tests.places import ROOT

TEXT = (ROOT / "docs" / "incentives.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("\n## Settlement\n")[2].partition("\n## ")[0]
AT = datetime(2026, 1, 31, tzinfo=UTC)
USD = Unit("USD", 2)
CARRIED = 5_000_00


def tables() -> list[list[list[str]]]:
    blocks = re.findall(r"(?:^\|.*\n)+", SECTION, re.MULTILINE)
    return [[cells(row) for row in block.splitlines()[2:]] for block in blocks]


def cells(row: str) -> list[str]:
    return [cell.strip().strip("`") for cell in row.strip("|").split("|")]


def cents(text: str) -> int:
    return int(text.replace(",", "").replace(".", ""))


@pytest.fixture(scope="module")
def terms() -> RewardTerms:
    block = re.findall(r"```toml\n(.+?)```", SECTION, re.DOTALL)[0]
    return RewardTerms.model_validate(tomllib.loads(block)["reward"])


@pytest.fixture(scope="module")
def close(terms: RewardTerms) -> Close:
    assert terms.settlement is not None
    stakes = terms.settlement.stakes
    claims = {row[0]: Claim(float(row[1]), float(row[2]), stakes[row[0]]) for row in tables()[0]}
    return close_run(terms.pot, CARRIED, Rules(terms.risk_aversion, terms.settlement.clip, staked=True), claims)


def test_the_terms_are_explained_in_full(terms: RewardTerms) -> None:
    assert terms.settlement is not None
    block = re.findall(r"```toml\n(.+?)```", SECTION, re.DOTALL)[0]
    explained = set(tomllib.loads(block)["reward"]["settlement"])
    assert explained | {"approvers"} == set(SettlementTerms.model_fields)
    assert "`approvers`" in SECTION


def test_the_close(terms: RewardTerms, close: Close) -> None:
    assert terms.settlement is not None
    assert f"the payout factor is {float(close.factor):.4f}" in SECTION
    assert f"{USD.format(close.rolled_over)} rolls over." in SECTION
    for party, phi, error, points, share, stake, limit, pending, why in tables()[0]:
        award = close.awards[party]
        assert (points, phi, error) == (f"{award.score:.3f}", f"{float(phi):.3f}", f"{float(error):.3f}")
        assert cents(stake) == terms.settlement.stakes[party]
        assert (cents(share), cents(limit), cents(pending)) == (award.share, award.limit, award.amount)
        assert why == award.why


def test_live_data_and_the_books_after_it(terms: RewardTerms, close: Close) -> None:
    assert terms.settlement is not None
    rules = Rules(terms.risk_aversion, terms.settlement.clip, staked=True)
    live = {row[0]: Claim(float(row[1]), float(row[2])) for row in tables()[1]}
    outcomes = resolve_run(rules, close.prices(), live)
    for party, _, _, points, payable, lost, why in tables()[1]:
        outcome = outcomes[party]
        assert (points, cents(payable), cents(lost), why) == (
            f"{outcome.score:.3f}", outcome.payable, outcome.loss, outcome.why,
        )  # fmt: skip

    ledger = Ledger()
    ledger.open_accounts(chart_of_accounts(USD, outcomes), AT)
    ledger.append(subscription("1", 100_000_00, AT))
    for party, stake in terms.settlement.stakes.items():
        ledger.append(stake_deposit(party, party, stake, AT))
    ledger.append(Transaction("earlier", AT, "an earlier pot", (Posting(REWARD, CARRIED), Posting(POT, -CARRIED))))
    pending = close_transaction(
        "r1",
        {party: award.amount for party, award in close.awards.items()},
        AT,
        pot=terms.pot,
        pledges={party: award.pledge for party, award in close.awards.items()},
    )
    payable_by = {party: outcome.payable for party, outcome in outcomes.items()}
    losses = {party: outcome.loss for party, outcome in outcomes.items()}
    ledger.append_all([pending, resolve_transaction(pending, AT, payable_by, losses)])
    balances = ledger.balances()
    for account, balance in tables()[2]:
        assert balances[account].posted == cents(balance), account
    assert ledger.is_balanced()
    kept, unconfirmed = close.rolled_over, close.awards["orbit"].amount - payable_by["orbit"]
    for amount in (kept, unconfirmed, losses["till"], kept + unconfirmed + losses["till"]):
        assert f"{amount // 100:,}.{amount % 100:02}" in SECTION
    assert kept + unconfirmed + losses["till"] == balances[POT].posted
