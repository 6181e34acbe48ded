"""What two agreements must have alike: where a run goes on from another, tests it, or stands beside it."""

from __future__ import annotations

from parties.agreement.document import Agreement

__all__ = ["BESIDE", "CONTINUED", "SCORED", "TESTED", "differing"]

_EVERY = ("label", "calendar", "alignment", "walk_forward", "fixed_point", "evaluation")

CONTINUED = ("consortium", *_EVERY)
"""A run that goes on without a party that is gone."""

TESTED = ("consortium", *_EVERY, "parameter_set", "model", "readers")
"""A run and its placebo."""

BESIDE = (*_EVERY, "model")
"""Runs of the coalitions of one consortium, whose difference is read as a contribution."""


SCORED = (
    "consortium", "label", "alignment", "walk_forward", "fixed_point", "parameter_set", "model", "recipients",
    "readers",
)  # fmt: skip
"""A run and the sessions that score new periods under its weights."""


def differing(one: Agreement, other: Agreement, fields: tuple[str, ...]) -> list[str]:
    """Names of those of ``fields`` in which the two differ, in that order."""
    return [name for name in fields if getattr(one, name) != getattr(other, name)]
