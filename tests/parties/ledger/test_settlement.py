"""Splitting a pot, and the transactions of a settlement from pending to paid."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.errors import LedgerError
from parties.ledger.core import Ledger, Reason, Refused, State, Unit
from parties.ledger.settlement import (
    CASH,
    REWARD,
    SUBSCRIPTIONS,
    chart_of_accounts,
    final_settlement,
    party_account,
    payout,
    pending_id,
    settlement_transactions,
    subscription,
    void_settlement,
)
from parties.ledger.split import Split, score, split_reward

AT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
PARTIES = ["orbit", "chatter", "card_spend"]

scores = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=9
)


@given(st.integers(0, 10**12), scores)
def test_a_split_is_fair_to_the_unit(pot: int, given_scores: dict[str, float]) -> None:
    split = split_reward(pot, given_scores)
    assert list(split.shares) == list(given_scores)
    assert sum(split.shares.values()) + split.rolled_over == pot
    total = sum(map(Fraction, given_scores.values()))
    if total == 0:
        assert split == Split(dict.fromkeys(given_scores, 0), pot)
        return
    assert split.rolled_over == 0
    remainders = {}
    for party, share in split.shares.items():
        due = pot * Fraction(given_scores[party]) / total
        assert math.floor(due) <= share <= math.floor(due) + 1
        remainders[party] = (share - math.floor(due), due - math.floor(due))
    got = {party: r for party, (extra, r) in remainders.items() if extra}
    missed = {party: r for party, (extra, r) in remainders.items() if not extra}
    if got and missed:
        assert min(got.values()) >= max(missed.values())
        assert min(got.values()) > 0
        equal = [p for p in remainders if remainders[p][1] == min(got.values())]
        assert sorted(p for p in equal if p in got) == sorted(equal)[: sum(p in got for p in equal)]


@given(st.integers(0, 10**9), scores, st.randoms())
def test_a_split_does_not_depend_on_order(pot: int, given_scores: dict[str, float], shuffle: object) -> None:
    items = list(given_scores.items())
    shuffle.shuffle(items)  # type: ignore[attr-defined]
    assert split_reward(pot, dict(items)).shares == split_reward(pot, given_scores).shares


def test_ties_go_by_name() -> None:
    assert split_reward(5, {"c": 1.0, "a": 1.0, "b": 1.0}).shares == {"c": 1, "a": 2, "b": 2}


@pytest.mark.parametrize("bad", [-0.5, math.nan, math.inf])
def test_scores_must_be_numbers_above_zero(bad: float) -> None:
    with pytest.raises(LedgerError, match="of party 'b' must be finite and not negative"):
        split_reward(5, {"a": 1.0, "b": bad})
    with pytest.raises(LedgerError, match="reward pot -1"):
        split_reward(-1, {"a": 1.0})


def test_the_score_is_contribution_beyond_its_uncertainty() -> None:
    assert score(0.5, 0.25, 1.0) == 0.25
    assert score(0.5, 0.25, 4.0) == 0.0
    assert score(-0.5, 0.25, 0.0) == 0.0
    assert score(0.5, math.nan, 0.0) == 0.5
    assert score(0.5, math.nan, 1.0) == 0.0
    assert score(0.5, math.inf, 1.0) == 0.0


@pytest.mark.parametrize("bad", [(math.nan, 0.1, 0.0), (math.inf, 0.1, 1.0), (0.5, -0.1, 1.0), (0.5, 0.1, math.nan)])
def test_scores_of_no_numbers_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(LedgerError, match="gives no score; value the run again"):
        score(*bad)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.open_accounts(chart_of_accounts(Unit("USD", 2), PARTIES), AT)
    return made


def posted(ledger: Ledger) -> dict[str, int]:
    return {name: balance.posted for name, balance in ledger.balances().items() if balance.posted}


def test_from_subscription_to_payout(ledger: Ledger) -> None:
    ledger.append(subscription("2026-03", 1000, AT))
    shares = split_reward(500, {"orbit": 3.0, "chatter": 1.0, "card_spend": 0.0}).shares
    (pending,) = settlement_transactions("r1", shares, AT, evidence="ab" * 32)
    assert (pending.id, pending.run_id, pending.evidence) == (pending_id("r1"), "r1", "ab" * 32)
    ledger.append(pending)
    assert posted(ledger) == {CASH: 1000, SUBSCRIPTIONS: 1000}
    assert ledger.balances()[party_account("orbit", "Pending")].pending == 375
    assert ledger.balances()[REWARD].pending == 500
    ledger.append(final_settlement(pending, LATER))
    payables = {party_account("orbit", "Payable"): 375, party_account("chatter", "Payable"): 125}
    assert posted(ledger) == {CASH: 1000, SUBSCRIPTIONS: 1000, REWARD: 500} | payables
    ledger.append(payout("2026-06-orbit", "orbit", 375, LATER))
    assert posted(ledger) == {CASH: 625, SUBSCRIPTIONS: 1000, REWARD: 500, party_account("chatter", "Payable"): 125}
    with pytest.raises(Refused) as caught:
        ledger.append(payout("again", "orbit", 1, LATER))
    assert caught.value.reason is Reason.BELOW_LEAST
    assert all(balance.pending == 0 for balance in ledger.balances().values())


def test_settling_twice_is_settling_once(ledger: Ledger) -> None:
    (pending,) = settlement_transactions("r1", {"orbit": 5, "chatter": 6}, AT)
    (again,) = settlement_transactions("r1", {"chatter": 6, "orbit": 5}, AT)
    assert not ledger.append(pending).repeated
    assert ledger.append(again).repeated
    with pytest.raises(Refused) as caught:
        ledger.append(settlement_transactions("r1", {"chatter": 5, "orbit": 6}, AT)[0])
    assert caught.value.reason is Reason.ID_REUSED


def test_part_of_a_settlement_goes_back_to_the_pot(ledger: Ledger) -> None:
    (pending,) = settlement_transactions("r1", {"orbit": 50, "chatter": 60}, AT)
    ledger.append(pending)
    ledger.append(final_settlement(pending, LATER, payable={"orbit": 20, "chatter": 0}))
    assert posted(ledger) == {REWARD: 20, party_account("orbit", "Payable"): 20}
    assert all(balance.pending == 0 for balance in ledger.balances().values())


def test_a_void_leaves_nothing_and_ends_it(ledger: Ledger) -> None:
    (pending,) = settlement_transactions("r1", {"orbit": 50}, AT)
    ledger.append(pending)
    void = void_settlement(pending, LATER, "the label was restated")
    assert (void.state, void.postings) == (State.VOIDED, ())
    ledger.append(void)
    assert posted(ledger) == {}
    with pytest.raises(Refused) as caught:
        ledger.append(final_settlement(pending, LATER))
    assert caught.value.reason is Reason.ALREADY_RESOLVED


def test_nothing_earned_is_nothing_posted() -> None:
    assert settlement_transactions("r1", {"orbit": 0, "chatter": 0}, AT) == ()


def test_settlements_that_make_no_sense() -> None:
    (pending,) = settlement_transactions("r1", {"orbit": 50, "chatter": 60}, AT)
    with pytest.raises(LedgerError, match="name exactly the parties"):
        final_settlement(pending, LATER, payable={"orbit": 50})
    with pytest.raises(LedgerError, match="51 payable to 'orbit' must lie between 0 and the 50 pending"):
        final_settlement(pending, LATER, payable={"orbit": 51, "chatter": 60})
    with pytest.raises(LedgerError, match="is not a pending settlement"):
        final_settlement(subscription("s", 5, AT), LATER)
