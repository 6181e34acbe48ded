"""What opens in a run of an ensemble, said in words: what its members open, and why a score of each does."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import RunSizes
from vfl.models.sealed import opens as sealed
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.trees import opens as trees
from vfl.terms import EnsembleModel
from vfl.tree_terms import TreesModel

__all__ = ["in_words", "sentences"]

_PLACES = ("First", "Second", "Third")
_COUNTS = {2: "two", 3: "three"}
_NAMES = {"linear": "the line", "network": "the network", "trees": "the trees"}


def in_words(model: EnsembleModel) -> str:
    """The model in a few sentences: how it averages, and its members."""
    told = [
        (trees.in_words(part) if isinstance(part, TreesModel) else sealed.in_words(part)).removeprefix("Model: ")
        for part in model.members.values()
    ]
    parts = " ".join(f"{place} {said}" for place, said in zip(_PLACES, told, strict=False))
    how = _averaged(model)
    return f"Model: an ensemble of {_COUNTS[len(told)]}, each trained by itself on the same rows; {how} {parts}"


def _averaged(model: EnsembleModel) -> str:
    if not model.chosen_by_periods:
        (shares,) = model.averages
        told = [f"{share:.0%} of its rank by {_NAMES[name]}" for name, share in zip(model.names, shares, strict=True)]
        return f"in each period a score is {' and '.join(told)}."
    tried = "; ".join(model.told(number) for number in range(len(model.averages)))
    return (
        f"in each period a score averages its ranks by {', '.join(_NAMES[name] for name in model.names)}. The average "
        f"is the one of {tried} with the best mean rank IC over the periods before the reported ones, by labels "
        "that are known at the first of these; every one counts as a trial."
    )


def sentences(model: EnsembleModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party and the anchor learn of the feature parties' data."""
    count = len(model.names)
    yield (
        f"{_COUNTS[count].capitalize()} scores of each predicted row open to the label party, one of each part, "
        f"{count * SCORE_BITS} bits together: ranks are taken of scores that are open. {model.anchor} counts them all, "
        f"so a run uses {count} of the {sizes.row_limit} scores of a row."
    )
    for name, part in model.members.items():
        of = trees.sentences(part, sizes) if isinstance(part, TreesModel) else sealed.sentences(part, sizes)
        yield from (f"Of {_NAMES[name]}: {said}" for said in of)
