"""What a run of any kind of model opens, in words: each kind says it in its own folder's ``opens.py``."""

from __future__ import annotations

from typing import assert_never

from vfl.models import federated_opens as federated
from vfl.models.disclosure import Caution, RunSizes
from vfl.models.ensemble import opens as ensemble
from vfl.models.ridge import opens as ridge
from vfl.models.screen import opens as screen
from vfl.models.sealed import opens as sealed
from vfl.models.split import opens as split
from vfl.models.trees import opens as trees
from vfl.terms import EnsembleModel, FederatedModel, Model, RidgeModel, ScreenModel, SealedModel, SplitModel
from vfl.tree_terms import TreesModel

__all__ = ["CAUTION_TERMS", "cautions", "in_words", "sentences"]


CAUTION_TERMS = split.CAUTION_TERMS | ridge.CAUTION_TERMS | screen.CAUTION_TERMS | federated.CAUTION_TERMS
"""The terms that a caution of any kind of model may name."""


def in_words(model: Model) -> str:
    """The model in a sentence, or one for each part."""
    match model:
        case SealedModel():
            return sealed.in_words(model)
        case SplitModel():
            return split.in_words(model)
        case RidgeModel():
            return ridge.in_words(model)
        case TreesModel():
            return trees.in_words(model)
        case EnsembleModel():
            return ensemble.in_words(model)
        case ScreenModel():
            return screen.in_words(model)
        case FederatedModel():
            return federated.in_words(model)
        case _:
            assert_never(model)


def sentences(model: Model, sizes: RunSizes) -> tuple[str, ...]:
    """What the label party learns of the feature parties' data, as far as this model opens it."""
    match model:
        case SealedModel():
            return tuple(sealed.sentences(model, sizes))
        case SplitModel():
            return tuple(split.sentences(model, sizes))
        case RidgeModel():
            return tuple(ridge.sentences(model, sizes))
        case TreesModel():
            return tuple(trees.sentences(model, sizes))
        case EnsembleModel():
            return tuple(ensemble.sentences(model, sizes))
        case ScreenModel():
            return tuple(screen.sentences(model, sizes))
        case FederatedModel():
            return tuple(federated.sentences(model, sizes))
        case _:
            assert_never(model)


def cautions(model: Model, sizes: RunSizes) -> tuple[Caution, ...]:
    """What this model's terms allow and the party that signs should look at twice."""
    match model:
        case SealedModel():
            return ()  # there is no term of it that opens more than a score
        case SplitModel():
            return tuple(split.cautions(model, sizes))
        case RidgeModel():
            return tuple(ridge.cautions(model, sizes))
        case ScreenModel():
            return tuple(screen.cautions(model))
        case FederatedModel():
            return tuple(federated.cautions(model, sizes))
        case TreesModel() | EnsembleModel():
            return ()  # what a tree opens is said in full in its sentences
        case _:
            assert_never(model)
