"""The steps of a settlement, each as a dossier to approve: what would be posted, and every number behind it.

Nothing here writes. Conditions that time brings (live periods, waiting times, open disputes) are judged when a step
is proposed; what the books allow is judged again when it is posted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from parties.agreement.document import Agreement
from parties.agreement.terms import SettlementTerms
from parties.errors import LedgerError
from parties.ledger.entries import Transaction
from parties.ledger.lifecycle import correction, pending_parts, resolve_transaction
from parties.ledger.rewards import Claim, Outcome, Price, claim_score, prices_of, resolve_run
from parties.ledger.settlement import (
    POT,
    REWARD,
    pending_id,
    void_settlement,
)
from parties.ledger.stakes import (
    dispute,
    dispute_id,
    judged,
)
from parties.ledger.store import LedgerStore
from parties.settlement.closed_run import ClosedRun
from parties.settlement.closing import forfeits_to, plan_close, rules_of
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_parts import in_words, new_dossier, read_in, waiting_transaction
from parties.settlement.live_record import LiveRecord
from parties.settlement.pay_rule import claims_of
from parties.settlement.replay_verdict import ReplayVerdict
from parties.settlement.signed_contribution import contribution_digest

__all__ = [
    "Finality",
    "final_blocked",
    "finality",
    "open_disputes",
    "outcomes",
    "propose_close",
    "propose_correction",
    "propose_dispute",
    "propose_final",
    "propose_judgement",
    "propose_void",
    "settlement_rules",
]


def settlement_rules(agreement: Agreement) -> SettlementTerms:
    """The agreed rules; the defaults where the agreement has none."""
    return agreement.reward.settlement or SettlementTerms()


def propose_close(ledger: LedgerStore, run: ClosedRun, by: str, at: datetime) -> Dossier:
    """The pending settlement, where the agreement wants it approved."""
    if run.closed_at is None:
        raise LedgerError(f"run {run.run_id[:12]} has not come to its settlement yet: wait until it is exported")
    if ledger.entry(pending_id(run.run_id)) is not None:
        raise LedgerError(f"run {run.run_id[:12]} is settled as pending already: finalise or void it")
    plan = plan_close(ledger, run.agreement, run.contribution, at, run_id=run.run_id)
    if not plan.transactions:
        raise LedgerError(f"run {run.run_id[:12]} has nothing to post: the whole pot rolls over unbooked")
    reasons = [
        f"{party}: {in_words(run.agreement, award.amount)}: {award.why}" for party, award in plan.close.awards.items()
    ]
    basis = {"contribution": contribution_digest(run.contribution), "payout_factor": float(plan.close.factor)}
    basis |= _money(run)
    return new_dossier("close", run.run_id, by, at, reasons, plan.transactions, basis)


@dataclass(frozen=True)
class Finality:
    """What live data leaves of a pending settlement: the prices it fixed, each party's outcome, and the entry."""

    prices: dict[str, Price]
    outcomes: dict[str, Outcome]
    final: Transaction


def finality(
    agreement: Agreement,
    pending: Transaction,
    contribution: ContributionRecord | None,
    live: LiveRecord | None,
    at: datetime,
) -> Finality:
    """The final settlement that follows from the agreement. Without live data everything that is pending is due.

    Pure: whoever has the agreement, the pending entry and the records computes the same. Raises :class:`LedgerError`
    when these do not belong together.
    """
    shares, pledges = pending_parts(pending)
    claims = claims_of(agreement, contribution)
    aversion, rules = agreement.reward.risk_aversion, agreement.reward.settlement
    scores = {party: claim_score(claim, aversion) for party, claim in claims.items()}
    prices = prices_of(scores, shares, pledges)
    if live is None:
        due = {
            party: Outcome(scores[party], price.pending, 0, "as at the close, without live data")
            for party, price in prices.items()
        }
    else:
        said: Mapping[str, Claim] = claims_of(agreement, live.contribution, live=True)
        due = resolve_run(rules_of(agreement), prices, said)
    final = resolve_transaction(
        pending,
        at,
        {party: outcome.payable for party, outcome in due.items()},
        {party: outcome.loss for party, outcome in due.items()},
        unpaid=REWARD if rules is None else POT,
        forfeits=forfeits_to(rules),
    )
    return Finality(prices, due, final)


def outcomes(ledger: LedgerStore, run: ClosedRun, live: LiveRecord | None, at: datetime) -> Finality:
    """What live data leaves of the run's pending settlement. Raises :class:`LedgerError` when nothing is pending."""
    pending = waiting_transaction(ledger, pending_id(run.run_id), f"run {run.run_id[:12]} has no pending settlement")
    return finality(run.agreement, pending, run.contribution, live, at)


def final_blocked(ledger: LedgerStore, run: ClosedRun, live: LiveRecord | None, at: datetime) -> list[str]:
    """What a final settlement still waits for, one sentence each."""
    rules = settlement_rules(run.agreement)
    waits = []
    if run.closed_at is not None and at < run.closed_at + timedelta(days=rules.final_after_days):
        until = run.closed_at + timedelta(days=rules.final_after_days)
        waits.append(f"run {run.run_id[:12]} may be final from {until:%Y-%m-%d} on, as agreed: wait")
    accused = open_disputes(ledger, run.run_id)
    if accused:
        waits.append(f"{accused[0].id!r} is not judged yet: judge it before the settlement becomes final")
    if live is not None:
        try:
            live.verify(run.run_id, run.agreement, rules.live_periods)
        except LedgerError as error:
            waits.append(str(error))
    elif rules.live_periods:
        waits.append(
            f"the agreement wants live data of {rules.live_periods} or more resolved periods: the label party attests "
            "it at its node, entente settle live"
        )
    return waits


def propose_final(ledger: LedgerStore, run: ClosedRun, live: LiveRecord | None, by: str, at: datetime) -> Dossier:
    """The final settlement. Raises :class:`LedgerError` saying what it still waits for."""
    waits = final_blocked(ledger, run, live, at)
    if waits:
        raise LedgerError(waits[0])
    found = outcomes(ledger, run, live, at)
    due = found.outcomes
    reasons = [
        f"{party}: {in_words(run.agreement, outcome.payable)} of "
        f"{in_words(run.agreement, found.prices[party].pending)} payable, "
        f"{in_words(run.agreement, outcome.loss)} of stake lost: {outcome.why}"
        for party, outcome in due.items()
    ]
    basis: dict[str, Any] = {
        "close": contribution_digest(run.contribution),
        "scores": {party: outcome.score for party, outcome in due.items()},
        "live": None if live is None else live.model_dump(mode="json"),
    } | _money(run)
    return new_dossier("final", run.run_id, by, at, reasons, [found.final], basis)


def propose_void(ledger: LedgerStore, run: ClosedRun, why: str, by: str, at: datetime) -> Dossier:
    """Nothing of the pending settlement is owed, and pledges are free."""
    pending = waiting_transaction(ledger, pending_id(run.run_id), f"run {run.run_id[:12]} has no pending settlement")
    shares, _ = pending_parts(pending)
    freed = [f"{party}: {in_words(run.agreement, amount)} is owed no more" for party, amount in sorted(shares.items())]
    return new_dossier(
        "void", run.run_id, by, at, [f"void: {why}", *freed], [void_settlement(pending, at, why)], _money(run)
    )


def propose_correction(
    ledger: LedgerStore, run: ClosedRun, amounts: Mapping[str, int], why: str, by: str, at: datetime
) -> Dossier:
    """More or less for some parties than the final settlement gave, as a new entry."""
    if ledger.entry(f"{pending_id(run.run_id)}/final") is None:
        raise LedgerError(f"run {run.run_id[:12]} is not final: void its pending settlement, or finalise it first")
    known = {party.name for party in run.agreement.features}
    if not amounts or set(amounts) - known:
        raise LedgerError(f"a correction names feature parties of the run: {', '.join(sorted(known))}")
    number = 1
    while ledger.entry(f"{pending_id(run.run_id)}/correction/{number}") is not None:
        number += 1
    plain = run.agreement.reward.settlement is None
    entry = correction(run.run_id, number, amounts, at, why, against=REWARD if plain else POT)
    reasons = [f"{party}: {in_words(run.agreement, amount)}: {why}" for party, amount in sorted(amounts.items())]
    return new_dossier("correction", run.run_id, by, at, reasons, [entry], _money(run))


def open_disputes(ledger: LedgerStore, run_id: str) -> list[Transaction]:
    """Disputes of the run that wait for judgement."""
    entries = ledger.journal(run_id=run_id)
    return [entry.transaction for entry in entries if entry.waiting and entry.transaction.id.startswith("dispute/")]


def propose_dispute(run: ClosedRun, accuser: str, claim: str, at: datetime) -> Dossier:
    """A party stakes a deposit on its claim that the run was settled wrongly. The accuser alone signs it."""
    rules = settlement_rules(run.agreement)
    if not rules.dispute_deposit:
        raise LedgerError("the agreement sets no deposit for disputes: agree on reward.settlement.dispute_deposit")
    run.agreement.party(accuser)
    if run.closed_at is None or at > run.closed_at + timedelta(days=rules.dispute_days):
        raise LedgerError(f"run {run.run_id[:12]} can be disputed for {rules.dispute_days} days after its close only")
    entry = dispute(
        run.run_id, accuser, rules.dispute_deposit, at, claim, forfeits=forfeits_to(run.agreement.reward.settlement)
    )
    reasons = [f"{accuser} puts down {in_words(run.agreement, rules.dispute_deposit)}: {claim}"]
    return new_dossier("dispute", run.run_id, accuser, at, reasons, [entry], _money(run), party=accuser)


def propose_judgement(
    ledger: LedgerStore,
    run: ClosedRun,
    accuser: str,
    why: str,
    by: str,
    at: datetime,
    *,
    upheld: bool,
    replay: ReplayVerdict | None = None,
) -> Dossier:
    """The deposit goes back (upheld), or is lost. ``replay``: what an auditor found, told among the reasons.

    Raises :class:`LedgerError` where no dispute is open, or the replay is of other contributions.
    """
    if replay is not None:
        replay.require_of(run)
    claim = waiting_transaction(ledger, dispute_id(run.run_id, accuser), f"{accuser!r} has no open dispute of this run")
    word = "upheld: the deposit is free" if upheld else "rejected: the deposit is lost"
    entry = judged(claim, at, why, upheld=upheld)
    reasons = [f"dispute of {accuser} {word}: {why}", *([] if replay is None else [replay.sentence])]
    basis = {} if replay is None else {"replay": replay.digest, "record": replay.record}
    return new_dossier("judgement", run.run_id, by, at, reasons, [entry], basis | _money(run), party=accuser)


def _money(run: ClosedRun) -> dict[str, Any]:
    return read_in(run.agreement.reward.unit, run.agreement.reward.scale)
