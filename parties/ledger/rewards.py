"""What a run pays, and what is left of it once live data has spoken. Pure, exact, and each number with its reason.

At the close a pot is split by score, and where parties stake, nobody gets more than a share of its stake. The close
fixes a price: money per unit of score. Live data then says how many units each party really brought. It is paid
for those, never more than was pending; one whose live contribution is below zero beyond its uncertainty loses
stake at the same price, never more than it pledged.

>>> close = close_run(100_00, 0, Rules(), {"orbit": Claim(0.03, 0.0), "chatter": Claim(0.01, 0.0)})
>>> {party: award.amount for party, award in close.awards.items()}, close.rolled_over
({'orbit': 7500, 'chatter': 2500}, 0)
>>> live = resolve_run(Rules(), close.prices(), {"orbit": Claim(0.02, 0.0), "chatter": Claim(0.04, 0.0)})
>>> {party: outcome.payable for party, outcome in live.items()}
{'orbit': 5000, 'chatter': 2500}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from parties.errors import LedgerError
from parties.ledger.split import score, split_reward

__all__ = [
    "Award",
    "Claim",
    "Close",
    "Outcome",
    "Price",
    "Rules",
    "claim_score",
    "close_run",
    "live_score",
    "prices_of",
    "resolve_run",
]


@dataclass(frozen=True, slots=True)
class Rules:
    """``clip``: the largest share of a stake that can be won or lost. ``staked``: whether only stakes earn."""

    risk_aversion: float = 0.0
    clip: float = 0.25
    staked: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A party's contribution (IC), its standard error (NaN: unknown) and its stake (minor units).

    ``barred``: why it is paid nothing whatever it contributed, or "".
    """

    contribution: float
    standard_error: float
    stake: int = 0
    barred: str = ""


@dataclass(frozen=True, slots=True)
class Award:
    """A party's part at the close. ``limit``: what its stake allows; None without stakes. Minor units."""

    score: float
    share: int
    limit: int | None
    amount: int
    why: str

    @property
    def pledge(self) -> int:
        """What the party can lose of its stake: as much as it can win."""
        return self.limit or 0


@dataclass(frozen=True, slots=True)
class Price:
    """What the close fixed for a party: ``pending``, money per unit of score, and the most it can lose."""

    pending: int
    per_score: Fraction
    pledge: int = 0


@dataclass(frozen=True, slots=True)
class Close:
    """A split pot. ``factor`` scales what stakes allow when they exceed what the pot can cover."""

    pot: int
    carried: int
    factor: Fraction
    awards: dict[str, Award]
    rolled_over: int

    def prices(self) -> dict[str, Price]:
        """The price each party was given."""
        return prices_of(
            {party: award.score for party, award in self.awards.items()},
            {party: award.amount for party, award in self.awards.items()},
            {party: award.pledge for party, award in self.awards.items()},
        )


def prices_of(scores: Mapping[str, float], pending: Mapping[str, int], pledges: Mapping[str, int]) -> dict[str, Price]:
    """The price each party was given: its own; what the run paid on average where it was given nothing."""
    total = sum(map(Fraction, scores.values()))
    average = Fraction(sum(pending.values())) / total if total else Fraction(0)
    prices = {}
    for party, points in scores.items():
        given = pending.get(party, 0)
        prices[party] = Price(given, given / Fraction(points) if given else average, pledges.get(party, 0))
    return prices


@dataclass(frozen=True, slots=True)
class Outcome:
    """What live data leaves of a party's pending reward, and what it loses of its stake. Minor units."""

    score: float
    payable: int
    loss: int
    why: str


def close_run(pot: int, carried: int, rules: Rules, claims: Mapping[str, Claim]) -> Close:
    """Split ``pot`` plus what was ``carried`` from earlier runs. What nobody may have rolls over.

    With ``rules.staked`` a party's limit is clip * stake, times the payout factor: 1 while the pot can pay
    everyone their limit, and the pot over the sum of the limits above that.
    Raises :class:`LedgerError` for a contribution that is no number or an amount below zero.
    """
    if min(pot, carried, *(claim.stake for claim in claims.values()), 0) < 0:
        raise LedgerError("a pot, a roll-over and a stake must not be negative; correct the reward terms")
    available = pot + carried
    scores = {party: claim_score(claim, rules.risk_aversion) for party, claim in claims.items()}
    shares = split_reward(available, scores).shares
    most = {party: Fraction(rules.clip) * claim.stake for party, claim in claims.items()}
    whole = sum(most.values(), Fraction(0))
    factor = min(Fraction(1), available / whole) if whole else Fraction(1)
    awards = {}
    for party, claim in claims.items():
        limit = math.floor(factor * most[party]) if rules.staked else None
        amount = shares[party] if limit is None else min(shares[party], limit)
        awards[party] = Award(
            scores[party], shares[party], limit, amount, _why(claim, scores[party], limit, shares[party])
        )
    paid = sum(award.amount for award in awards.values())
    assert 0 <= paid <= available, "a run pays at most its pot"
    return Close(pot, carried, factor, awards, available - paid)


def claim_score(claim: Claim, risk_aversion: float) -> float:
    """The contribution beyond its uncertainty; 0 where it is barred. Raises as :func:`parties.ledger.split.score`."""
    points = score(claim.contribution, claim.standard_error, risk_aversion)
    return 0.0 if claim.barred else points


def _why(claim: Claim, points: float, limit: int | None, share: int) -> str:
    if claim.barred:
        return claim.barred
    if points == 0:
        return "no contribution" if claim.contribution <= 0 else "within its uncertainty"
    if limit == 0:
        return "nothing at stake"
    if limit is not None and share > limit:
        return "share of the pot, held to the stake's limit"
    return "share of the pot"


def live_score(contribution: float, standard_error: float, risk_aversion: float) -> float:
    """The contribution beyond its uncertainty, with its sign; 0 within it.

    Raises :class:`LedgerError` for values that are no numbers.
    """
    gain = score(contribution, standard_error, risk_aversion)
    return gain or -score(-contribution, standard_error, risk_aversion)


def resolve_run(rules: Rules, prices: Mapping[str, Price], live: Mapping[str, Claim]) -> dict[str, Outcome]:
    """What each party is paid and loses, from its live contribution. Fractions of a minor unit stay with the pot.

    Raises :class:`LedgerError` when ``live`` is of other parties.
    """
    if set(live) != set(prices):
        raise LedgerError(
            f"live contributions are of {', '.join(sorted(live)) or 'nobody'}, the settlement is of "
            f"{', '.join(sorted(prices))}: value the same parties"
        )
    outcomes = {}
    for party, price in prices.items():
        claim = live[party]
        points = live_score(claim.contribution, claim.standard_error, rules.risk_aversion)
        points = min(points, 0.0) if claim.barred else points
        worth = math.floor(price.per_score * Fraction(abs(points)))
        payable = min(price.pending, worth) if points > 0 else 0
        loss = min(price.pledge, worth) if points < 0 else 0
        outcomes[party] = Outcome(
            points, payable, loss, claim.barred if claim.barred and not loss else _outcome(points, price, payable, loss)
        )
    return outcomes


def _outcome(points: float, price: Price, payable: int, loss: int) -> str:
    if points > 0:
        if not price.pending:
            return "nothing was pending"
        return "confirmed in full" if payable == price.pending else "live contribution below the close's"
    if points == 0:
        return "nothing beyond its uncertainty on live data"
    if not price.pledge:
        return "harmed live; nothing was at stake"
    return "harmed live; the whole pledge is lost" if loss == price.pledge else "harmed live; stake is lost"
