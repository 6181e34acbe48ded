"""Closing, resolving, staking and disputing: exact numbers, and what always holds."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parties.ledger.lifecycle
import parties.ledger.rewards
import parties.ledger.stakes
from parties.errors import LedgerError
from parties.ledger.core import Ledger, Reason, Refused, State, Transaction, Unit
from parties.ledger.lifecycle import close_transaction, correction, pending_parts, resolve_transaction
from parties.ledger.rewards import Claim, Rules, close_run, live_score, resolve_run
from parties.ledger.settlement import (
    CASH,
    FORFEITS,
    POT,
    REWARD,
    chart_of_accounts,
    party_account,
    payout,
    subscription,
    void_settlement,
)
from parties.ledger.stakes import (
    dispute,
    exit_release,
    exit_request,
    judged,
    reclaim,
    stake_deposit,
)

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = AT + timedelta(days=120)
STAKED = Rules(risk_aversion=1.0, clip=0.25, staked=True)

claims = st.dictionaries(
    st.sampled_from(["orbit", "chatter", "till", "ships"]),
    st.builds(
        Claim,
        st.floats(-0.2, 0.2),
        st.one_of(st.just(math.nan), st.floats(0, 0.1)),
        st.integers(0, 10**9),
    ),
    min_size=1,
)
rules = st.builds(Rules, st.sampled_from([0.0, 0.5, 2.0]), st.floats(0.01, 1), st.booleans())


@pytest.mark.parametrize("module", [parties.ledger.lifecycle, parties.ledger.rewards, parties.ledger.stakes])
def test_the_examples(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@given(st.integers(0, 10**9), st.integers(0, 10**9), rules, claims)
def test_a_close_hands_out_or_rolls_over(pot: int, carried: int, terms: Rules, given_claims: dict[str, Claim]) -> None:
    close = close_run(pot, carried, terms, given_claims)
    assert sum(a.amount for a in close.awards.values()) + close.rolled_over == pot + carried
    assert close.rolled_over >= 0
    assert 0 <= close.factor <= 1
    for party, award in close.awards.items():
        assert (award.amount > 0) <= (award.score > 0)
        if terms.staked:
            assert award.limit is not None
            assert award.amount <= award.limit <= Fraction(terms.clip) * given_claims[party].stake
        else:
            assert award.limit is None
            assert award.pledge == 0
    if terms.staked:
        assert sum(a.limit or 0 for a in close.awards.values()) <= pot + carried


@given(st.integers(1, 10**9), rules, claims, st.data())
def test_live_data_confirms_less_or_takes_stake(
    pot: int, terms: Rules, given_claims: dict[str, Claim], data: st.DataObject
) -> None:
    close = close_run(pot, 0, terms, given_claims)
    live = {party: Claim(data.draw(st.floats(-0.2, 0.2)), data.draw(st.floats(0, 0.1))) for party in given_claims}
    for party, outcome in resolve_run(terms, close.prices(), live).items():
        award = close.awards[party]
        assert 0 <= outcome.payable <= award.amount
        assert 0 <= outcome.loss <= award.pledge
        assert not (outcome.payable and outcome.loss)
        if outcome.score >= award.score > 0:
            assert outcome.payable == award.amount, "what live data confirms is paid in full"
        if outcome.score >= 0:
            assert outcome.loss == 0


def test_the_payout_factor_shares_a_pot_that_stakes_exceed() -> None:
    given_claims = {
        "orbit": Claim(0.03, 0.0, 40_000),
        "chatter": Claim(0.01, 0.0, 80_000),
        "till": Claim(-0.01, 0.0, 0),
    }
    close = close_run(10_000, 0, STAKED, given_claims)
    assert close.factor == Fraction(10_000, 30_000)
    assert {party: award.limit for party, award in close.awards.items()} == {"orbit": 3333, "chatter": 6666, "till": 0}
    assert {party: award.amount for party, award in close.awards.items()} == {"orbit": 3333, "chatter": 2500, "till": 0}
    assert close.rolled_over == 4167
    assert close.awards["orbit"].why == "share of the pot, held to the stake's limit"
    # a pot that covers every limit leaves the factor at 1, and what was carried counts
    assert close_run(10_000, 20_000, STAKED, given_claims).factor == 1


def test_the_sign_of_a_live_score() -> None:
    assert live_score(0.5, 0.25, 1.0) == 0.25
    assert live_score(-0.5, 0.25, 1.0) == -0.25
    assert live_score(-0.5, 0.25, 4.0) == 0.0
    assert live_score(-0.5, math.nan, 1.0) == 0.0


def test_live_contributions_must_be_of_the_same_parties() -> None:
    close = close_run(100, 0, Rules(), {"orbit": Claim(0.1, 0.0)})
    with pytest.raises(LedgerError, match="live contributions are of nobody, the settlement is of orbit"):
        resolve_run(Rules(), close.prices(), {})
    with pytest.raises(LedgerError, match="must not be negative"):
        close_run(100, -1, Rules(), {"orbit": Claim(0.1, 0.0)})


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit", "chatter"]), AT)
    made.append(subscription("1", 100_000, AT))
    made.append(stake_deposit("1", "orbit", 1_000, AT))
    made.append(stake_deposit("2", "chatter", 400, AT))
    return made


def posted(ledger: Ledger, account: str) -> int:
    return ledger.balances()[account].posted


def stake(party: str) -> str:
    return party_account(party, "Stake")


@pytest.mark.parametrize("forfeits", [POT, FORFEITS])
def test_from_the_close_to_the_final_settlement(ledger: Ledger, forfeits: str) -> None:
    close = close_transaction(
        "r1", {"orbit": 60, "chatter": 0}, AT, pot=100, pledges={"orbit": 250, "chatter": 100}, forfeits=forfeits
    )
    assert pending_parts(close) == ({"orbit": 60}, {"orbit": 250, "chatter": 100})
    ledger.append(close)
    with pytest.raises(Refused) as caught:
        ledger.append(exit_request("orbit", 751, AT))
    assert caught.value.reason is Reason.BELOW_LEAST, "a pledge cannot be asked back"
    ledger.append(resolve_transaction(close, LATER, {"orbit": 45}, {"chatter": 30}, forfeits=forfeits))
    assert posted(ledger, party_account("orbit", "Payable")) == 45
    assert (posted(ledger, stake("orbit")), posted(ledger, stake("chatter"))) == (1_000, 370)
    assert posted(ledger, REWARD) == 100
    assert posted(ledger, POT) == 55 + (30 if forfeits == POT else 0)
    assert posted(ledger, FORFEITS) == (30 if forfeits == FORFEITS else 0)
    assert all(balance.pending == 0 for balance in ledger.balances().values())
    assert ledger.is_balanced()


def test_a_roll_over_pays_the_next_run(ledger: Ledger) -> None:
    first = close_transaction("r1", {"orbit": 0}, AT, pot=100, pledges={})
    ledger.append(first)
    assert ledger.balances()[POT].lowest == 0, "what is pending is not there yet"
    ledger.append(resolve_transaction(first, AT, {}, {}))
    second = close_transaction("r2", {"orbit": 150, "chatter": 40}, AT, pot=100, pledges={})
    ledger.append(second)
    assert ledger.balances()[POT].lowest == 10
    with pytest.raises(Refused) as caught:
        ledger.append(close_transaction("r3", {"orbit": 111}, AT, pot=100, pledges={}))
    assert caught.value.reason is Reason.BELOW_LEAST, "what rolled over is spent once"


def test_final_settlements_that_make_no_sense(ledger: Ledger) -> None:
    close = close_transaction("r1", {"orbit": 60}, AT, pot=100, pledges={"orbit": 250})
    for payable, losses in (
        ({"orbit": 61}, {}),
        ({"chatter": 1}, {}),
        ({}, {"orbit": 251}),
        ({}, {"chatter": 1}),
        ({"orbit": -1}, {}),
    ):
        with pytest.raises(LedgerError, match="must lie between 0 and the"):
            resolve_transaction(close, LATER, payable, losses)
    with pytest.raises(LedgerError, match="is not a pending settlement"):
        resolve_transaction(subscription("x", 1, AT), LATER, {}, {})


def test_a_correction_is_a_new_entry(ledger: Ledger) -> None:
    close = close_transaction("r1", {"orbit": 60}, AT, pot=100, pledges={})
    ledger.append_all([close, resolve_transaction(close, AT, {"orbit": 60}, {})])
    fixed = correction("r1", 1, {"orbit": -20, "chatter": 45}, LATER, "a restated label")
    assert fixed.id == "settlement/r1/correction/1"
    ledger.append(fixed)
    assert posted(ledger, party_account("orbit", "Payable")) == 40
    assert posted(ledger, party_account("chatter", "Payable")) == 45
    assert posted(ledger, POT) == 15
    with pytest.raises(Refused) as caught:
        ledger.append(correction("r1", 2, {"orbit": -41}, LATER, "too much"))
    assert caught.value.reason is Reason.BELOW_LEAST


def test_stake_cools_before_it_leaves(ledger: Ledger) -> None:
    asked = exit_request("orbit", 700, AT)
    ledger.append(asked)
    with pytest.raises(LedgerError, match="cools until 2026-03-31 00:00 UTC"):
        exit_release(asked, AT + timedelta(days=29), 30)
    cancelled, rest = reclaim([asked], 200, AT + timedelta(days=10), "run r1 pledges it")
    ledger.append_all([cancelled, rest])
    assert ledger.balances()[stake("orbit")].lowest == 500
    ledger.append(exit_release(rest, AT + timedelta(days=30), 30))  # the cooling period did not begin anew
    assert posted(ledger, stake("orbit")) == 500
    assert posted(ledger, party_account("orbit", "Payable")) == 500
    with pytest.raises(LedgerError, match="asks no stake back"):
        exit_release(subscription("1", 5, AT), LATER, 0)


def test_reclaiming_takes_the_newest_requests_first() -> None:
    old, new = exit_request("orbit", 100, AT), exit_request("orbit", 100, AT + timedelta(days=1))
    made = reclaim([old, new], 150, LATER, "why")
    assert [(t.state, t.resolves) for t in made] == [
        (State.VOIDED, new.id), (State.VOIDED, old.id), (State.PENDING, None),
    ]  # fmt: skip
    assert made[-1].postings[0].amount == 50
    assert reclaim([old, new], 0, LATER, "why") == []


@pytest.mark.parametrize(("upheld", "left", "pot"), [(True, 400, 0), (False, 350, 50)])
def test_a_dispute_costs_the_accuser_who_is_wrong(ledger: Ledger, upheld: bool, left: int, pot: int) -> None:
    accusation = dispute("r1", "chatter", 50, AT, "the label was late")
    ledger.append(accusation)
    assert ledger.balances()[stake("chatter")].lowest == 350
    ledger.append(judged(accusation, LATER, "seen by both", upheld=upheld))
    assert (posted(ledger, stake("chatter")), posted(ledger, POT)) == (left, pot)
    assert ledger.balances()[stake("chatter")].lowest == left
    with pytest.raises(LedgerError, match="is not a dispute"):
        judged(exit_request("chatter", 5, AT), LATER, "x", upheld=True)


class Lifecycle:
    """Random settlements on a ledger, with an account of its own of what everybody should have."""

    PARTIES = ("orbit", "chatter", "till")

    def __init__(self, draw: Callable[[int, int], int], forfeits: str) -> None:
        self.draw, self.forfeits = draw, forfeits
        self.ledger = Ledger()
        self.ledger.open_accounts(chart_of_accounts(Unit("USD", 2), self.PARTIES), AT)
        self.ledger.append(subscription("1", 10**9, AT))
        self.open: list[Transaction] = []
        self.number = 0
        self.expected = {"reward": 0, "lost": 0, "kept": 0, "staked": 0, "paid": 0, "owed": 0}

    def try_append(self, *transactions: Transaction) -> bool:
        try:
            self.ledger.append_all(transactions)
        except Refused as refusal:
            if refusal.reason is not Reason.BELOW_LEAST:
                raise  # only money that is not there may be refused
            return False
        return True

    def close(self) -> None:
        self.number += 1
        claims = {
            party: Claim(self.draw(-50, 100) / 1000, self.draw(0, 20) / 1000, max(0, self.free(stake(party))))
            for party in self.PARTIES
        }
        pot = self.draw(0, 5_000)
        made = close_run(pot, self.free(POT), STAKED, claims)
        shares = {party: award.amount for party, award in made.awards.items()}
        pledges = {party: award.pledge for party, award in made.awards.items()}
        closing = close_transaction(f"r{self.number}", shares, AT, pot=pot, pledges=pledges, forfeits=self.forfeits)
        if closing.postings:
            assert self.try_append(closing), "what is free can be paid and pledged"
            self.open.append(closing)

    def resolve(self) -> None:
        if not self.open:
            return
        pending = self.open.pop(self.draw(0, len(self.open) - 1))
        if self.draw(0, 3) == 0:
            self.ledger.append(void_settlement(pending, LATER, "x"))
            return
        shares, pledges = pending_parts(pending)
        payable = {party: self.draw(0, share) for party, share in shares.items()}
        losses = {party: self.draw(0, pledge) for party, pledge in pledges.items()}
        final = resolve_transaction(pending, LATER, payable, losses, forfeits=self.forfeits)
        # a pot that was counted on for this settlement is set aside in it, so a final settlement always fits
        assert self.try_append(final)
        self.expected["reward"] += sum(p.amount for p in pending.postings if p.account == REWARD)
        self.expected["lost"] += sum(losses.values())
        self.expected["owed"] += sum(payable.values())

    def move_stake(self) -> None:
        self.number += 1
        party = self.PARTIES[self.draw(0, 2)]
        amount = self.draw(1, 2_000)
        if self.draw(0, 1):
            self.ledger.append(stake_deposit(str(self.number), party, amount, AT))
            self.expected["staked"] += amount
        else:
            asked = exit_request(party, amount, AT + timedelta(seconds=self.number))
            if self.try_append(asked):
                self.ledger.append(exit_release(asked, LATER, 30))
                self.expected["staked"] -= amount
                self.expected["owed"] += amount

    def quarrel(self) -> None:
        self.number += 1
        party = self.PARTIES[self.draw(0, 2)]
        accusation = dispute(f"r{self.number}", party, self.draw(1, 300), AT, "x", forfeits=self.forfeits)
        if self.try_append(accusation):
            upheld = bool(self.draw(0, 1))
            self.ledger.append(judged(accusation, LATER, "x", upheld=upheld))
            self.expected["lost"] += 0 if upheld else accusation.postings[0].amount

    def pay(self) -> None:
        self.number += 1
        party = self.PARTIES[self.draw(0, 2)]
        amount = self.draw(1, 2_000)
        if self.try_append(payout(str(self.number), party, amount, LATER)):
            self.expected["paid"] += amount

    def free(self, account: str) -> int:
        return self.ledger.balances()[account].lowest

    def check(self) -> None:
        balances = self.ledger.balances()
        assert self.ledger.is_balanced()
        assert all(b.lowest >= 0 for name, b in balances.items() if name.startswith("Liabilities"))
        total = {
            kind: sum(balances[party_account(party, kind)].posted for party in self.PARTIES)  # type: ignore[arg-type]
            for kind in ("Stake", "Payable", "Pending")
        }
        assert balances[REWARD].posted == self.expected["reward"]
        assert total["Pending"] == 0
        assert total["Stake"] == self.expected["staked"] - self.expected["lost"]
        assert total["Payable"] == self.expected["owed"] - self.expected["paid"]
        assert (
            balances[CASH].posted
            == 10**9 + balances[POT].posted + balances[FORFEITS].posted + sum(total.values()) - self.expected["reward"]
        )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([POT, FORFEITS]))
def test_random_lifecycles_leave_nobody_short(data: st.DataObject, forfeits: str) -> None:
    life = Lifecycle(lambda low, high: data.draw(st.integers(low, high)), forfeits)
    steps = (life.close, life.resolve, life.move_stake, life.quarrel, life.pay)
    for number in data.draw(st.lists(st.integers(0, 4), max_size=25)):
        steps[number]()
        life.check()
