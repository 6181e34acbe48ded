"""Who contributed what: exact Shapley values of coalitions, per period, with standard errors.

v(S) is the out-of-sample IC of coalition S of feature parties; the label party is always in. v is a mean of
per-period ICs and the Shapley value is linear, so each party's phi exists per period and the phis sum to
v(N) - v(empty). Integer money is made of these in the ledger; here they stay floats.

Source: Shapley (1953), "A value for n-person games".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import HacMean, hac_mean

__all__ = [
    "MOST_PARTIES",
    "ContributionMethod",
    "ContributionReport",
    "coalitions",
    "exact_shapley",
    "scores_for_pay",
]

ContributionMethod = Literal["masked", "retrain"]
Floats = NDArray[np.float64]

MOST_PARTIES = 8

_METHODS: dict[ContributionMethod, str] = {
    "masked": "v(S) is the IC of the one trained model with the parties outside S contributing 0",
    "retrain": "v(S) is the IC of a model trained anew by the parties of S",
}
_DEFINITION = (
    "Exact Shapley value of the per-period IC over coalitions of the feature parties. {method}. {label}. "
    "phi is the mean over the periods in which every coalition has an IC; the phis sum to v(all) - v(none)."
)


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
class ContributionReport:
    """Shapley values of one game, all in units of the value (IC).

    phi: float64 (T,) per party, NaN in periods that do not count. estimates: the mean of phi per party with
    Newey-West t and interval. leave_one_out: v(N) - v(N without i). standalone: v({i}) - v(empty).
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

    @property
    def total(self) -> float:
        """v(N) - v(empty), which the phis share out."""
        return self.everyone - self.nobody

    def record(self) -> dict[str, Any]:
        """The report as plain JSON values; an undefined number is None."""
        return {
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
) -> ContributionReport:
    """Shapley values of the game ``values``: coalition -> float64 (T,), NaN where a period has no value.

    ``parties`` fixes the order and who must be there (default: everyone named in a coalition, sorted).
    ``horizon`` is the label's in periods, for the standard errors. ``conditioned`` says that the label party's own
    features are in every coalition, the empty one too. Only periods with a value for every coalition count.
    Raises ValueError on a missing or foreign coalition, lengths that differ, an infinite value, no period that counts.
    """
    if method not in _METHODS:
        raise ValueError(f"contribution method {method!r} is unknown; use one of {', '.join(_METHODS)}")
    players = tuple(sorted(frozenset().union(*values))) if parties is None else tuple(parties)
    game = _game(values, players)
    counted = ~np.isnan(np.stack(list(game.values()))).any(axis=0)
    if not counted.any():
        raise ValueError("no period has a value for every coalition: check the coalitions' scores and the labels")
    phi = {party: _phi(game, players, party) for party in players}
    for series in phi.values():
        series[~counted] = np.nan

    means = {coalition: float(series[counted].mean()) for coalition, series in game.items()}
    nobody, everyone = frozenset[str](), frozenset(players)
    estimates = {party: hac_mean(series, horizon=horizon) for party, series in phi.items()}
    report = ContributionReport(
        parties=players,
        method=method,
        definition=_DEFINITION.format(
            method=_METHODS[method],
            label="The label party's own features are in every coalition" if conditioned
            else "The label party's own features are in no coalition",
        ),
        phi=phi,
        estimates=estimates,
        leave_one_out={party: means[everyone] - means[everyone - {party}] for party in players},
        standalone={party: means[frozenset({party})] - means[nobody] for party in players},
        everyone=means[everyone],
        nobody=means[nobody],
        n_periods=int(counted.sum()),
    )
    scale = max(float(np.abs(series[counted]).max()) for series in game.values())
    _assert_shared_out(report, game[everyone] - game[nobody], scale)
    return report


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


def _phi(game: Mapping[frozenset[str], Floats], players: tuple[str, ...], party: str) -> Floats:
    """One party's Shapley value per period: integer weights first, one division last."""
    count = len(players)
    total = np.zeros_like(game[frozenset()])
    for coalition, series in game.items():
        if party not in coalition:
            orders = math.factorial(len(coalition)) * math.factorial(count - len(coalition) - 1)
            total += orders * (game[coalition | {party}] - series)
    return total / math.factorial(count)


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
