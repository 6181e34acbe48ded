"""What an ensemble may average, as the new run's form offers it: a list that earlier periods choose from, or none."""

from __future__ import annotations

import copy
from typing import Any

__all__ = ["AVERAGES", "choice_of", "set_averages"]

_KINDS = "kinds"
AVERAGES = {
    "": "as the terms say: network and trees, half each, where they say nothing",
    _KINDS: "the best by earlier periods of a line, the network, the trees and all three",
}
"""Choices, with their titles."""

_LISTED: dict[str, list[dict[str, float]]] = {
    _KINDS: [{"linear": 1.0}, {"network": 1.0}, {"trees": 1.0}, {"linear": 1.0, "network": 1.0, "trees": 1.0}],
}
"""What stands in model.weights for each."""


def choice_of(said: Any) -> str:
    """The choice that terms of these weights show; "" for a list of their own, and for none."""
    return next((key for key, listed in _LISTED.items() if listed == said), "")


def set_averages(terms: dict[str, Any], chosen: str) -> None:
    """The list of a choice; where none is chosen, a list of the terms' own stays, and one of a choice goes."""
    model = terms.setdefault("model", {})
    if chosen in _LISTED:
        model["weights"] = copy.deepcopy(_LISTED[chosen])
        model.pop("trees_share", None)
    elif model.get("weights") in _LISTED.values():
        del model["weights"]
