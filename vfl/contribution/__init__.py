"""Who contributed what: coalition values, Shapley and Owen values, and what they are conditioned on."""

from __future__ import annotations

from vfl.contribution.conditioning import refit_with_own, without_own
from vfl.contribution.orders import MOST_SAMPLED, coalitions_of, joining_orders, sampled_shapley
from vfl.contribution.shapley import (
    MOST_PARTIES,
    ContributionMethod,
    ContributionReport,
    Sampling,
    coalitions,
    exact_shapley,
    scores_for_pay,
)

__all__ = [
    "MOST_PARTIES",
    "MOST_SAMPLED",
    "ContributionMethod",
    "ContributionReport",
    "Sampling",
    "coalitions",
    "coalitions_of",
    "exact_shapley",
    "joining_orders",
    "refit_with_own",
    "sampled_shapley",
    "scores_for_pay",
    "without_own",
]
