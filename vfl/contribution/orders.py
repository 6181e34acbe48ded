"""Shapley values from a sample of orders in which the parties could join, for more parties than all coalitions allow.

Orders are drawn in pairs, each with its reverse (antithetic): who comes early in one comes late in the other, so that
much of the noise cancels within a pair. Each order shares out v(all) - v(none) exactly, so any mean of orders does too.
The draw follows from a public seed in the agreement, so every party derives the same coalitions beforehand.

Sources: Castro, Gomez and Tejada (2009), "Polynomial calculation of the Shapley value based on sampling"; antithetic
orders as in Mitchell, Cooper, Frank and Holmes, "Sampling permutations for Shapley value estimation", JMLR 2022.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.contribution.shapley import (
    ContributionMethod,
    ContributionReport,
    Sampling,
    assemble,
    define,
    unions_of,
)

__all__ = ["MOST_SAMPLED", "coalitions_of", "joining_orders", "sampled_shapley"]

Floats = NDArray[np.float64]
Order = tuple[str, ...]
T = TypeVar("T")

MOST_SAMPLED = 64


def joining_orders(
    parties: Sequence[str], pairs: int, seed: int, *, entities: Mapping[str, str] | None = None
) -> tuple[Order, ...]:
    """``2 * pairs`` orders of the parties: each drawn one, then its reverse. Parties of one legal entity stay together.

    The same arguments give the same orders everywhere. Raises ValueError on a repeated name, fewer than two parties,
    more than :data:`MOST_SAMPLED`, and fewer than two pairs, which would leave the error unknown.
    """
    if len(set(parties)) != len(parties):
        raise ValueError(f"a party is named twice in {', '.join(parties)}")
    if not 2 <= len(parties) <= MOST_SAMPLED:
        raise ValueError(f"sampled Shapley values need 2 to {MOST_SAMPLED} feature parties, not {len(parties)}")
    if pairs < 2:
        raise ValueError(f"at least 2 pairs of orders are needed for an error, not {pairs}")
    unions = unions_of(parties, entities or {})
    stream = SecretStream(hashlib.sha256(f"entente/joining-orders/{seed}".encode()).digest())
    orders: list[Order] = []
    for _ in range(pairs):
        drawn = [_shuffled(union, stream) for union in _shuffled(unions, stream)]
        order = tuple(party for union in drawn for party in union)
        orders += [order, order[::-1]]
    return tuple(orders)


def coalitions_of(orders: Sequence[Order]) -> tuple[frozenset[str], ...]:
    """The coalitions whose values the orders need, leave-one-out and alone included; by size, then by name."""
    everyone = frozenset(orders[0])
    needed = {frozenset(order[:size]) for order in orders for size in range(len(order) + 1)}
    needed |= {frozenset({party}) for party in everyone} | {everyone - {party} for party in everyone}
    return tuple(sorted(needed, key=lambda coalition: (len(coalition), sorted(coalition))))


def sampled_shapley(
    values: Mapping[frozenset[str], Floats],
    orders: Sequence[Order],
    *,
    seed: int,
    method: ContributionMethod = "masked",
    horizon: int = 1,
    conditioned: bool = True,
    refitted: bool = False,
    entities: Mapping[str, str] | None = None,
) -> ContributionReport:
    """Shapley values as means over ``orders`` (of :func:`joining_orders`, drawn by ``seed``), per period.

    values: coalition -> float64 (T,) for all of :func:`coalitions_of`. The report's ``sampling`` has the standard error
    from drawing, over antithetic pairs; t and intervals hold it and the periods' Newey-West error together.
    Raises ValueError on a missing coalition, an infinite value, lengths that differ, no period that counts.
    """
    players = tuple(sorted(orders[0]))
    needed = coalitions_of(orders)
    missing = [coalition for coalition in needed if coalition not in values]
    if missing:
        named = ", ".join(sorted(missing[0]))
        raise ValueError(f"{len(missing)} of {len(needed)} coalitions have no value, the first is {{{named}}}")
    if len({np.shape(values[coalition]) for coalition in needed}) != 1:
        raise ValueError("the coalitions' series differ in length: value all of them over one window")
    game = {coalition: np.array(values[coalition], dtype=np.float64) for coalition in needed}
    if any(np.isinf(series).any() for series in game.values()):
        raise ValueError("a coalition's value is infinite: check its scores")
    counted = np.all(np.isfinite(np.stack(list(game.values()))), axis=0)
    if not counted.any():
        raise ValueError("no period has a value for every coalition: check the coalitions' scores and the labels")
    gains = {party: np.zeros((len(orders), len(counted))) for party in players}
    for number, order in enumerate(orders):
        for place, party in enumerate(order):
            gains[party][number] = game[frozenset(order[: place + 1])] - game[frozenset(order[:place])]
    phi = {party: np.where(counted, rows.mean(axis=0), np.nan) for party, rows in gains.items()}
    pairs = len(orders) // 2
    errors = {}
    for party, rows in gains.items():
        by_pair = rows[:, counted].mean(axis=1).reshape(pairs, 2).mean(axis=1)
        errors[party] = float(by_pair.std(ddof=1) / np.sqrt(pairs))
    united = len(unions_of(players, entities or {})) < len(players)
    value = f"Shapley value, estimated from {len(orders)} orders of joining in antithetic pairs (seed {seed}),"
    return assemble(
        game,
        phi,
        counted,
        players,
        method=method,
        definition=define(method, conditioned=conditioned, united=united, refitted=refitted, value=value),
        horizon=horizon,
        entities={party: entities[party] for party in players if entities and entities.get(party)} if united else {},
        sampling=Sampling(seed, len(orders), errors),
    )


def _shuffled(items: Sequence[T], stream: SecretStream) -> list[T]:
    """Fisher and Yates (1938), Durstenfeld's form."""
    drawn = list(items)
    for last in range(len(drawn) - 1, 0, -1):
        other = int(stream.below(last + 1, 1)[0])
        drawn[last], drawn[other] = drawn[other], drawn[last]
    return drawn
