"""A run's contributions and reward terms as ledger transactions.

The amounts are *pending* until the labels of the factor's live periods have resolved. Ids and times come from the
run and its event log, so settling a run twice posts it once.
"""

from __future__ import annotations

import hashlib
import math
from datetime import datetime

import rfc8785

from parties.agreement import Agreement
from parties.coordinator.reports import ContributionRecord, SettleReport
from parties.errors import LedgerError
from parties.ledger.entries import Unit
from parties.ledger.settlement import chart_of_accounts, settlement_transactions
from parties.ledger.split import Split, score, split_reward
from parties.ledger.store import LedgerStore

__all__ = ["reward_split", "settle_run"]


def reward_split(agreement: Agreement, contribution: ContributionRecord | None) -> Split:
    """Who earns how much of the pot, in minor units. Without contributions the pot rolls over.

    Raises :class:`LedgerError` when the contributions are not of exactly the run's feature parties.
    """
    parties = [party.name for party in agreement.features]
    if contribution is None:
        return split_reward(agreement.reward.pot, dict.fromkeys(parties, 0.0))
    if set(contribution.parties) != set(parties):
        raise LedgerError(
            f"contributions are of {', '.join(sorted(contribution.parties)) or 'nobody'}, "
            f"the run's feature parties are {', '.join(sorted(parties))}: value the run again"
        )
    scores: dict[str, float] = {}
    for party in parties:
        said = contribution.parties[party]
        error = math.nan if said.standard_error is None else said.standard_error
        scores[party] = score(said.phi, error, agreement.reward.risk_aversion)
    return split_reward(agreement.reward.pot, scores)


def settle_run(
    ledger: LedgerStore, agreement: Agreement, contribution: ContributionRecord | None, at: datetime
) -> SettleReport:
    """Post the run's rewards as pending. ``at`` must be the same whenever the same run is settled again."""
    split = reward_split(agreement, contribution)
    terms = agreement.reward
    basis = {} if contribution is None else contribution.model_dump(mode="json")
    evidence = hashlib.sha256(rfc8785.dumps(basis)).hexdigest()
    transactions = settlement_transactions(agreement.run_id, split.shares, at, evidence=evidence)
    ledger.open_accounts(chart_of_accounts(Unit(terms.unit, terms.scale), (p.name for p in agreement.parties)), at)
    ledger.append_all(transactions)
    return SettleReport(
        transactions=tuple(transaction.id for transaction in transactions),
        rewards=split.shares,
        rolled_over=split.rolled_over,
    )
