"""What opens in a run of an ensemble, said in words: what its two parts open, and why both scores of a row do."""

from __future__ import annotations

from collections.abc import Iterator

from vfl.models.disclosure import RunSizes
from vfl.models.sealed import opens as sealed
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.trees import opens as trees
from vfl.terms import EnsembleModel

__all__ = ["in_words", "sentences"]


def in_words(model: EnsembleModel) -> str:
    """The model in three sentences: how it averages, and its parts."""
    network, grown = model.parts
    told = [part.removeprefix("Model: ") for part in (sealed.in_words(network), trees.in_words(grown))]
    return (
        f"Model: an ensemble of two, each trained by itself on the same rows; {_shared(model)} First {told[0]} "
        f"Second {told[1]}"
    )


def _shared(model: EnsembleModel) -> str:
    if not model.chosen_by_periods:
        (share,) = model.trees_share
        return (
            f"in each period a score is {1 - share:.0%} of its rank by the network and {share:.0%} of its rank by the "
            "trees."
        )
    tried = ", ".join(f"{share:.0%}" for share in model.trees_share)
    return (
        "in each period a score averages its ranks by the network and by the trees. The trees' share is the one of "
        f"{tried} with the best mean rank IC over the periods before the reported ones, by labels that are known at "
        "the first of these; every share counts as a trial."
    )


def sentences(model: EnsembleModel, sizes: RunSizes) -> Iterator[str]:
    """What the label party and the anchor learn of the feature parties' data."""
    network, grown = model.parts
    yield (
        f"Two scores of each predicted row open to the label party, one of each part, {2 * SCORE_BITS} bits together: "
        f"ranks are taken of scores that are open. {model.anchor} counts both, so a run uses 2 of the "
        f"{sizes.row_limit} scores of a row."
    )
    yield from (f"Of the network: {said}" for said in sealed.sentences(network, sizes))
    yield from (f"Of the trees: {said}" for said in trees.sentences(grown, sizes))
