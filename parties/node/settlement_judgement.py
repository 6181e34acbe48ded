"""What a node makes of a settlement that it is asked to approve: computed again from the agreement it signed. Pure.

The agreement, the contributions that the label party signed and sent here, its attested live record and the arithmetic
are this node's to verify. What rolled over is read from the ledger's entries, which the node remembers; what is pledged
is taken as the coordinator tells it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.ledger.entries import Posting, Transaction
from parties.ledger.lifecycle import close_transaction, pending_parts
from parties.ledger.rewards import close_run
from parties.ledger.settlement import pending_id, settlement_transactions
from parties.ledger.split import split_reward
from parties.members.roster import Roster
from parties.settlement.closing import forfeits_to, rules_of
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier import Dossier, Intended
from parties.settlement.dossier_parts import in_words
from parties.settlement.dossier_store import check_current, requirement
from parties.settlement.licence import licence_entries
from parties.settlement.live_record import LiveRecord
from parties.settlement.pay_rule import claims_of
from parties.settlement.proposals import finality, settlement_rules
from parties.settlement.requests import Asked, Facts
from parties.settlement.roll_over import carried_of
from parties.settlement.signed_contribution import contribution_digest

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True)
class Judgement:
    """``confirmed``: every amount follows from the agreement and what was told. ``notes``: what an operator reads."""

    confirmed: bool
    notes: tuple[str, ...]


def judge(
    asked: Asked, agreement: Agreement | None, roster: Roster, me: str, key: str, kept: ContributionRecord | None
) -> Judgement:
    """Whether the dossier may be approved by ``me`` (identity ``key``, hex), and what could be verified of it.

    ``agreement``: the run's, as this node signed it; None where it signed none. ``kept``: the contributions that the
    label party signed and sent to this node; it judges by nothing else. Raises :class:`LedgerError` with the
    reason when it must not be approved: it posts something else than it says, or amounts that do not follow.
    """
    dossier, facts = asked.dossier, asked.facts
    if dossier.run_id and agreement is None:
        raise LedgerError(f"this node has not signed the agreement of run {dossier.run_id[:12]}")
    check_current(dossier)
    need = requirement(dossier, agreement, roster)
    if need.people.get(me) != key:
        raise LedgerError(f"{me} is not among those who may approve this, or by another key")
    if agreement is not None and dossier.kind == "licence":
        return _licence(dossier, facts, agreement)
    if agreement is None or dossier.kind not in ("close", "final"):
        return Judgement(False, ("nothing in this step can be computed from an agreement: decide by its reasons",))
    if kept is None and agreement.openings.contribution != "none":
        return Judgement(False, ("the label party has sent this node no signed contributions: decide by its reasons",))
    _check_contribution(dossier, facts, kept)
    told = _pending(dossier, facts)
    if facts.carried != carried_of(facts.pot_entries):
        raise LedgerError("what rolled over is not what the ledger's own entries leave in the pot")
    _check_pending(told, agreement, facts, kept)
    notes = [
        "the split follows from the agreement, the contributions that the label party signed, and what had rolled "
        f"over ({in_words(agreement, facts.carried)}) by the ledger's own entries; what was pledged is the "
        "coordinator's word"
    ]
    if dossier.kind == "close":
        if len(dossier.transactions) > 1:
            return Judgement(False, (*notes, "it also cancels requests for stake, which this node cannot verify"))
        return Judgement(True, tuple(notes))
    live = _live(dossier, agreement)
    found = finality(agreement, told, kept, live, dossier.made_at)
    if dossier.transactions != (Intended.of(found.final),):
        raise LedgerError("the final amounts are not what the agreement and the live record give")
    if dossier.made_at < told.timestamp + timedelta(days=settlement_rules(agreement).final_after_days):
        raise LedgerError("the agreed time from the close to the final settlement is not over")
    if live is not None:
        notes.append(f"the live record of {len(live.periods)} periods carries the signature of {agreement.label.party}")
    return Judgement(True, tuple(notes))


def _licence(dossier: Dossier, facts: Facts, agreement: Agreement) -> Judgement:
    """A licence's amounts and dates follow from the agreement and the entries told; which entries, a person looks."""
    entries = [one.content() for one in facts.earning_entries]
    numbers = [int(one.id.rpartition("/")[2]) for one in dossier.transactions]
    expected = licence_entries(agreement, dossier.run_id, entries, numbers, dossier.made_at)
    if tuple(map(Intended.of, expected)) != dossier.transactions or len(set(numbers)) != len(numbers):
        raise LedgerError("the licence is not shared as the final settlement and its corrections were")
    return Judgement(
        False,
        (
            "periods, dates and shares follow from the agreement and the final settlement's entries; that no "
            "correction is left out is the coordinator's word: compare with your statement",
        ),
    )


def _pending(dossier: Dossier, facts: Facts) -> Transaction:
    """The pending settlement: the one told, or the one a close is to book."""
    said = dossier.transactions[-1] if dossier.kind == "close" else facts.pending
    if said is None or said.id != pending_id(dossier.run_id) or said.run_id != dossier.run_id:
        raise LedgerError("the pending settlement that this would make final was not told: ask for it again")
    postings = tuple(Posting(account, amount) for account, amount in said.postings)
    return Transaction(said.id, said.timestamp, said.narration, postings, said.state, said.resolves, said.run_id)


def _live(dossier: Dossier, agreement: Agreement) -> LiveRecord | None:
    rules, said = settlement_rules(agreement), dossier.basis.get("live")
    if said is None:
        if rules.live_periods:
            raise LedgerError(f"the agreement wants live data of {rules.live_periods} periods, and there is none")
        return None
    try:
        record = LiveRecord.model_validate(said)
    except ValueError:
        raise LedgerError("the live record is not one this version understands") from None
    record.verify(dossier.run_id, agreement, rules.live_periods)
    return record


def _check_contribution(dossier: Dossier, facts: Facts, kept: ContributionRecord | None) -> None:
    """What the coordinator tells, and what the dossier rests on, must be what the label party signed."""
    mine = contribution_digest(kept)
    said = dossier.basis.get("contribution" if dossier.kind == "close" else "close", mine)
    if {said, contribution_digest(facts.contribution)} != {mine}:
        raise LedgerError(
            "the coordinator tells other contributions than the label party signed and sent here: ask both for theirs"
        )


def _check_pending(told: Transaction, agreement: Agreement, facts: Facts, kept: ContributionRecord | None) -> None:
    """The split of the pot, from the contributions; stakes only bound it, as what is held of them is in the books."""
    terms, rules = agreement.reward, agreement.reward.settlement
    claims = claims_of(agreement, kept)
    close = close_run(terms.pot, facts.carried if rules else 0, rules_of(agreement), claims)
    _, pledges = pending_parts(told)
    if rules is None:
        amounts = {party: award.amount for party, award in close.awards.items()}
        expected = settlement_transactions(told.run_id, amounts, told.timestamp)
    else:
        scores = {party: award.score for party, award in close.awards.items()}
        shares = split_reward(terms.pot + facts.carried, scores).shares
        for party, pledge in pledges.items():
            if pledge > math.floor(Fraction(rules.clip) * rules.stakes.get(party, 0)):
                raise LedgerError(f"more of {party}'s stake is pledged than was agreed")
        staked = bool(rules.stakes)
        amounts = {party: min(share, pledges.get(party, 0)) if staked else share for party, share in shares.items()}
        expected = (
            close_transaction(
                told.run_id, amounts, told.timestamp, pot=terms.pot, pledges=pledges, forfeits=forfeits_to(rules)
            ),
        )
    if not expected or _moves(expected[0]) != _moves(told):
        raise LedgerError("the pending amounts are not what the agreement and the contributions give")


def _moves(transaction: Transaction) -> Mapping[str, int]:
    return {posting.account: posting.amount for posting in transaction.postings}
