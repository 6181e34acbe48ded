"""A run's contributions and reward terms as ledger transactions.

The amounts are *pending* until the labels of the factor's live periods have resolved. Ids and times come from the
run and its event log, so settling a run twice posts it once. Under settlement rules the books themselves
are an input (what rolled over, what is staked), so a settlement that is recorded is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from parties.agreement.document import Agreement
from parties.agreement.terms import SettlementTerms
from parties.errors import LedgerError
from parties.ledger.core import Balance, Ledger, Reason, Refused
from parties.ledger.entries import Side, Transaction, Unit
from parties.ledger.lifecycle import close_transaction, pending_parts
from parties.ledger.rewards import Close, Rules, close_run
from parties.ledger.settlement import (
    FORFEITS,
    POT,
    chart_of_accounts,
    party_account,
    pending_id,
    settlement_transactions,
)
from parties.ledger.split import Split, split_reward
from parties.ledger.stakes import exits_of, reclaim
from parties.ledger.store import LedgerStore
from parties.settlement.contribution import ContributionRecord, SettleReport
from parties.settlement.pay_rule import claims_of
from parties.settlement.signed_contribution import contribution_digest

__all__ = [
    "ClosePlan",
    "forfeits_to",
    "plan_close",
    "reward_split",
    "rules_of",
    "settle_run",
]

_TRIES = 5


@dataclass(frozen=True)
class ClosePlan:
    """How a run would close on today's books: every number, and the transactions."""

    close: Close
    transactions: tuple[Transaction, ...]


def rules_of(agreement: Agreement) -> Rules:
    """The reward terms as the ledger's rules."""
    terms = agreement.reward
    if terms.settlement is None:
        return Rules(risk_aversion=terms.risk_aversion)
    return Rules(terms.risk_aversion, terms.settlement.clip, bool(terms.settlement.stakes))


def reward_split(agreement: Agreement, contribution: ContributionRecord | None) -> Split:
    """Who earns how much of the pot, in minor units, stakes and roll-overs aside.

    Raises :class:`LedgerError` when the contributions are not of exactly the run's feature parties.
    """
    claims = claims_of(agreement, contribution)
    close = close_run(agreement.reward.pot, 0, Rules(agreement.reward.risk_aversion), claims)
    return split_reward(agreement.reward.pot, {party: award.score for party, award in close.awards.items()})


def plan_close(
    ledger: LedgerStore | Ledger,
    agreement: Agreement,
    contribution: ContributionRecord | None,
    at: datetime,
    *,
    run_id: str = "",
) -> ClosePlan:
    """How the run closes on the books as they are; nothing is written.

    ``run_id`` is the hash of the document that was signed, for an agreement that an earlier version wrote.
    """
    terms, rules, run = agreement.reward, agreement.reward.settlement, run_id or agreement.run_id
    if rules is None:
        close = close_run(terms.pot, 0, rules_of(agreement), claims_of(agreement, contribution))
        shares = {party: award.amount for party, award in close.awards.items()}
        evidence = contribution_digest(contribution)
        return ClosePlan(close, settlement_transactions(run, shares, at, evidence=evidence))
    balances = ledger.balances()
    leaving = {party: _leaving(ledger, party) for party in rules.stakes}
    free = {party: _free(balances, party_account(party, "Stake")) for party in rules.stakes}
    stakes = {
        party: min(agreed, free[party] + sum(request.postings[0].amount for request in leaving[party]))
        for party, agreed in rules.stakes.items()
    }
    close = close_run(terms.pot, _free(balances, POT), rules_of(agreement), claims_of(agreement, contribution, stakes))
    pledges = {party: award.pledge for party, award in close.awards.items()}
    why = f"run {run[:12]} pledges it"
    freed = [
        transaction
        for party, requests in leaving.items()
        for transaction in reclaim(requests, pledges[party] - free[party], at, why)
    ]
    closing = close_transaction(
        run,
        {party: award.amount for party, award in close.awards.items()},
        at,
        pot=terms.pot,
        pledges=pledges,
        forfeits=forfeits_to(rules),
        evidence=contribution_digest(contribution),
    )
    return ClosePlan(close, (*freed, closing) if closing.postings else tuple(freed))


def forfeits_to(rules: SettlementTerms | None) -> str:
    """The account that lost stakes and deposits go to."""
    return FORFEITS if rules is not None and rules.forfeits == "burned" else POT


def settle_run(
    ledger: LedgerStore,
    agreement: Agreement,
    contribution: ContributionRecord | None,
    at: datetime,
    *,
    run_id: str = "",
) -> SettleReport:
    """Post the run's rewards as pending. ``at`` must be the same whenever the same run is settled again.

    Where the agreement wants approvals at the close already, nothing is posted: people do that.
    """
    terms, run = agreement.reward, run_id or agreement.run_id
    ledger.open_accounts(chart_of_accounts(Unit(terms.unit, terms.scale), (p.name for p in agreement.parties)), at)
    if terms.settlement is not None and terms.settlement.at_close == "approved":
        plan = plan_close(ledger, agreement, contribution, at, run_id=run)
        rewards = {party: award.amount for party, award in plan.close.awards.items()}
        return SettleReport(rewards=rewards, rolled_over=_rolled(agreement, rewards))
    for attempt in range(_TRIES):
        recorded = ledger.entry(pending_id(run)) if terms.settlement is not None else None
        if recorded is not None:
            return _recorded(agreement, contribution, recorded.transaction)
        plan = plan_close(ledger, agreement, contribution, at, run_id=run)
        try:
            ledger.append_all(plan.transactions)
        except Refused as refusal:
            # another run closed in between: its roll-over or pledges are not there any more
            moved = (Reason.BELOW_LEAST, Reason.ALREADY_RESOLVED, Reason.ID_REUSED)
            if terms.settlement is None or refusal.reason not in moved or attempt == _TRIES - 1:
                raise
            continue
        break
    rewards = {party: award.amount for party, award in plan.close.awards.items()}
    ids = tuple(transaction.id for transaction in plan.transactions)
    return SettleReport(transactions=ids, rewards=rewards, rolled_over=_rolled(agreement, rewards))


def _recorded(agreement: Agreement, contribution: ContributionRecord | None, done: Transaction) -> SettleReport:
    """The report of a settlement that stands in the books; it must rest on the same contributions."""
    if done.evidence != contribution_digest(contribution):
        raise LedgerError(f"settlement {done.id!r} rests on other contributions; void it before settling the run again")
    shares, _ = pending_parts(done)
    rewards = {party.name: shares.get(party.name, 0) for party in agreement.features}
    return SettleReport(transactions=(done.id,), rewards=rewards, rolled_over=_rolled(agreement, rewards))


def _rolled(agreement: Agreement, rewards: dict[str, int]) -> int:
    """What of this run's own pot nobody earned."""
    return max(0, agreement.reward.pot - sum(rewards.values()))


def _free(balances: dict[str, Balance], account: str) -> int:
    """What is in a liability account and not spoken for."""
    return max(0, balances.get(account, Balance(Side.CREDIT)).lowest)


def _leaving(ledger: LedgerStore | Ledger, party: str) -> list[Transaction]:
    """Requests for stake that wait."""
    return [entry.transaction for entry in ledger.journal(run_id=exits_of(party)) if entry.waiting]
