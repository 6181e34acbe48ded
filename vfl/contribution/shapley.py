"""Who contributed what: exact Shapley values of coalitions, per period, with standard errors.

v(S) is the out-of-sample IC of coalition S of feature parties; the label party is always in. v is a mean of
per-period ICs and the Shapley value is linear, so each party's phi exists per period and the phis sum to
v(N) - v(empty). Integer money is made of these in the ledger; here they stay floats.

Parties of one legal entity join together, in Owen's way: what they earn together is what the entity would earn as
one party, so splitting a party in two changes nothing but how its own share is divided.

Sources: Shapley (1953), "A value for n-person games"; Owen (1977), "Values of games with a priori unions".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vfl.factors.hac import HacMean, hac_mean

__all__ = [
    "MOST_PARTIES",
    "ContributionMethod",
    "ContributionReport",
    "Sampling",
    "assemble",
    "coalitions",
    "define",
    "exact_shapley",
    "scores_for_pay",
    "unions_of",
]

ContributionMethod = Literal["masked", "retrain", "moments"]
Floats = NDArray[np.float64]
T = TypeVar("T")

MOST_PARTIES = 8

_METHODS: dict[ContributionMethod, str] = {
    "masked": "v(S) is the IC of the one trained model with the parties outside S contributing 0",
    "retrain": "v(S) is the IC of a model trained anew by the parties of S",
    "moments": "v(S) is the Pearson IC of the one sealed model without the parties outside S, whose columns are 0 in a "
    "network and whose splits are averaged over in trees; two numbers per coalition and period opened",
}
_DEFINITION = (
    "{value} of the per-period IC over coalitions of the feature parties. {method}. {label}. "
    "phi is the mean over the periods in which every coalition has an IC; the phis sum to v(all) - v(none)."
)


def define(method: ContributionMethod, *, conditioned: bool, united: bool, refitted: bool, value: str) -> str:
    """One sentence each on what is computed, by which way, and with what of the label party's."""
    label = "The label party's own features are in no coalition"
    if conditioned:
        label = "The label party's own features are in every coalition"
        if refitted:
            label += ", and it fits its blend of them and the coalition's score anew at each period on resolved labels"
    if united:
        value += " with the parties of a legal entity joining together (Owen value)"
    return _DEFINITION.format(value=value, method=_METHODS[method], label=label)


def coalitions(parties: Sequence[str]) -> tuple[frozenset[str], ...]:
    """All 2**k coalitions of k parties, the empty one first, then by size in the parties' order.

    Raises ValueError on a repeated name, on no party and above :data:`MOST_PARTIES`.
    """
    if len(set(parties)) != len(parties):
        raise ValueError(f"a party is named twice in {', '.join(parties)}")
    if not 1 <= len(parties) <= MOST_PARTIES:
        raise ValueError(f"exact Shapley values need 1 to {MOST_PARTIES} feature parties, not {len(parties)}")
    return tuple(frozenset(group) for size in range(len(parties) + 1) for group in combinations(parties, size))


@dataclass(frozen=True)
class Sampling:
    """How orders of joining were drawn. errors: standard error of each party's phi from drawing, in IC."""

    seed: int
    orders: int
    errors: Mapping[str, float]


@dataclass(frozen=True)
class ContributionReport:
    """Shapley values of one game, all in units of the value (IC).

    phi: float64 (T,) per party, NaN in periods that do not count. estimates: the mean of phi per party with
    Newey-West t and interval, which allow for the sampling error where orders were drawn. leave_one_out: v(N) - v(N
    without i). standalone: v({i}) - v(empty). entities: the legal entity of each party, where some share one.
    """

    parties: tuple[str, ...]
    method: ContributionMethod
    definition: str
    phi: Mapping[str, Floats]
    estimates: Mapping[str, HacMean]
    leave_one_out: Mapping[str, float]
    standalone: Mapping[str, float]
    everyone: float
    nobody: float
    n_periods: int
    entities: Mapping[str, str] = field(default_factory=dict)
    sampling: Sampling | None = None

    @property
    def total(self) -> float:
        """v(N) - v(empty), which the phis share out."""
        return self.everyone - self.nobody

    @property
    def by_entity(self) -> dict[str, float]:
        """Mean phi of each legal entity; a party without one stands for itself."""
        totals: dict[str, float] = {}
        for party, estimate in self.estimates.items():
            name = self.entities.get(party, party)
            totals[name] = totals.get(name, 0.0) + estimate.mean
        return totals

    def record(self) -> dict[str, Any]:
        """The report as plain JSON values; an undefined number is None."""
        said: dict[str, Any] = {}
        if self.entities:
            said["entities"] = self.by_entity
        if self.sampling is not None:
            said |= {"seed": self.sampling.seed, "orders": self.sampling.orders}
        return said | {
            "method": self.method,
            "definition": self.definition,
            "n_periods": self.n_periods,
            "v_everyone": self.everyone,
            "v_nobody": self.nobody,
            "parties": {
                name: {
                    "phi": estimate.mean,
                    "standard_error": _or_none(estimate.standard_error),
                    "t": _or_none(estimate.t),
                    "low": _or_none(estimate.low),
                    "high": _or_none(estimate.high),
                    "leave_one_out": self.leave_one_out[name],
                    "standalone": self.standalone[name],
                    "phi_by_period": [_or_none(float(value)) for value in self.phi[name]],
                }
                | ({} if self.sampling is None else {"sampling_error": self.sampling.errors[name]})
                for name, estimate in self.estimates.items()
            },
        }


def exact_shapley(
    values: Mapping[frozenset[str], Floats],
    *,
    method: ContributionMethod = "masked",
    parties: Sequence[str] | None = None,
    horizon: int = 1,
    conditioned: bool = True,
    refitted: bool = False,
    entities: Mapping[str, str] | None = None,
) -> ContributionReport:
    """Shapley values of the game ``values``: coalition -> float64 (T,), NaN where a period has no value.

    ``parties`` fixes the order and who must be there (default: everyone named in a coalition, sorted).
    ``horizon`` is the label's in periods, for the standard errors. ``conditioned`` says that the label party's own
    features are in every coalition, the empty one too; ``refitted``, that it blended them anew with each coalition's
    score. ``entities`` gives parties their legal entity: those of one join together (Owen value). Only periods with a
    value for every coalition count.
    Raises ValueError on a missing or foreign coalition, lengths that differ, an infinite value, no period that counts.
    """
    if method not in _METHODS:
        raise ValueError(f"contribution method {method!r} is unknown; use one of {', '.join(_METHODS)}")
    players = tuple(sorted(frozenset().union(*values))) if parties is None else tuple(parties)
    game = _game(values, players)
    counted = np.all(np.isfinite(np.stack(list(game.values()))), axis=0)
    if not counted.any():
        raise ValueError("no period has a value for every coalition: check the coalitions' scores and the labels")
    unions = unions_of(players, entities or {})
    phi = {party: _phi(game, unions, party) for party in players}
    for series in phi.values():
        series[~counted] = np.nan
    united = len(unions) < len(players)
    return assemble(
        game,
        phi,
        counted,
        players,
        method=method,
        definition=define(
            method, conditioned=conditioned, united=united, refitted=refitted, value="Exact Shapley value"
        ),
        horizon=horizon,
        entities={party: entities[party] for party in players if entities and entities.get(party)} if united else {},
    )


def unions_of(players: Sequence[str], entities: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """The players by legal entity, in order of first appearance; one without an entity is alone."""
    unions: dict[tuple[str, str], list[str]] = {}
    for party in players:
        entity = entities.get(party, "")
        unions.setdefault(("entity", entity) if entity else ("party", party), []).append(party)
    return tuple(tuple(members) for members in unions.values())


def assemble(
    game: Mapping[frozenset[str], Floats],
    phi: Mapping[str, Floats],
    counted: NDArray[np.bool_],
    players: tuple[str, ...],
    *,
    method: ContributionMethod,
    definition: str,
    horizon: int,
    entities: Mapping[str, str],
    sampling: Sampling | None = None,
) -> ContributionReport:
    """The report of phis (T,), NaN outside ``counted``, over a game that holds what leave-one-out and alone need."""
    nobody, everyone = frozenset[str](), frozenset(players)
    means = {coalition: float(series[counted].mean()) for coalition, series in game.items()}
    estimates = {party: hac_mean(series, horizon=horizon) for party, series in phi.items()}
    if sampling is not None:
        estimates = {party: _wider(estimate, sampling.errors[party]) for party, estimate in estimates.items()}
    report = ContributionReport(
        parties=players,
        method=method,
        definition=definition,
        phi=phi,
        estimates=estimates,
        leave_one_out={party: means[everyone] - means[everyone - {party}] for party in players},
        standalone={party: means[frozenset({party})] - means[nobody] for party in players},
        everyone=means[everyone],
        nobody=means[nobody],
        n_periods=int(counted.sum()),
        entities=entities,
        sampling=sampling,
    )
    scale = max(float(np.abs(series[counted]).max()) for series in game.values())
    _assert_shared_out(report, game[everyone] - game[nobody], scale)
    return report


def _wider(estimate: HacMean, error: float) -> HacMean:
    """The estimate with an independent error added to its own: variances add, the interval keeps its quantile."""
    total = math.hypot(estimate.standard_error, error)
    if not math.isfinite(total) or not total:
        return estimate
    reach = (estimate.high - estimate.mean) / estimate.standard_error if estimate.standard_error else 1.96
    return replace(
        estimate,
        standard_error=total,
        t=estimate.mean / total,
        low=estimate.mean - reach * total,
        high=estimate.mean + reach * total,
    )


def scores_for_pay(report: ContributionReport, risk_aversion: float) -> dict[str, float]:
    """Reward scores s_i = max(0, phi_i - risk_aversion * SE_i), in units of IC.

    With a risk aversion above zero and one counted period the SE is unknown and the score is 0: no evidence, no pay.
    Raises ValueError on a risk aversion that is negative or not finite.
    """
    if not (math.isfinite(risk_aversion) and risk_aversion >= 0):
        raise ValueError(f"risk aversion must be zero or more, not {risk_aversion}")
    scores = {}
    for party, estimate in report.estimates.items():
        charge = risk_aversion * estimate.standard_error if risk_aversion else 0.0
        scores[party] = 0.0 if math.isnan(charge) else max(0.0, estimate.mean - charge)
    return scores


def _game(values: Mapping[frozenset[str], Floats], players: tuple[str, ...]) -> dict[frozenset[str], Floats]:
    """Every coalition's series, checked, in the order of :func:`coalitions`."""
    needed = coalitions(players)
    missing = [c for c in needed if c not in values]
    if missing:
        raise ValueError(f"{len(missing)} of {len(needed)} coalitions have no value, the first is {_named(missing[0])}")
    foreign = [c for c in values if not c <= set(players)]
    if foreign:
        raise ValueError(f"coalition {_named(foreign[0])} names a party that is not one of {', '.join(players)}")
    game = {c: np.array(values[c], dtype=np.float64) for c in needed}
    shape = game[needed[0]].shape
    for coalition, series in game.items():
        if series.ndim != 1 or series.shape != shape:
            raise ValueError(f"coalition {_named(coalition)} has shape {series.shape}, not (T,) like {shape}")
        if np.isinf(series).any():
            raise ValueError(f"coalition {_named(coalition)} is infinite in period {int(np.argmax(np.isinf(series)))}")
    return game


def _phi(game: Mapping[frozenset[str], Floats], unions: Sequence[Sequence[str]], party: str) -> Floats:
    """One party's value per period: whole other unions join before its own, then part of its own before it.

    Integer weights first, one division last. With unions of one this is the Shapley value.
    """
    mine = next(union for union in unions if party in union)
    others = [frozenset(union) for union in unions if union is not mine]
    mates = [mate for mate in mine if mate != party]
    total = np.zeros_like(game[frozenset()])
    for outside in _subsets(others):
        before = frozenset[str]().union(*outside)
        outer = math.factorial(len(outside)) * math.factorial(len(others) - len(outside))
        for inside in _subsets(mates):
            inner = math.factorial(len(inside)) * math.factorial(len(mates) - len(inside))
            here = before | set(inside)
            total += outer * inner * (game[here | {party}] - game[here])
    return total / (math.factorial(len(unions)) * math.factorial(len(mine)))


def _subsets(members: Sequence[T]) -> Iterator[tuple[T, ...]]:
    for size in range(len(members) + 1):
        yield from combinations(members, size)


def _assert_shared_out(report: ContributionReport, gain: Floats, scale: float) -> None:
    """The phis share out the gain, in every period and in the mean, up to rounding."""
    slack = 2.0 ** (len(report.parties) + 4) * np.finfo(np.float64).eps * max(scale, np.finfo(np.float64).tiny)
    shared = np.sum([report.phi[party] for party in report.parties], axis=0)
    counted = ~np.isnan(shared)
    assert float(np.abs(shared - gain)[counted].max()) <= slack
    assert abs(math.fsum(e.mean for e in report.estimates.values()) - report.total) <= slack


def _named(coalition: Iterable[str]) -> str:
    return "{" + ", ".join(sorted(coalition)) + "}"


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
