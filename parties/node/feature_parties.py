"""Which part a feature party has in a run, by the agreed kind of model."""

from __future__ import annotations

from parties.node.classes_feature import ClassesFeatureParty
from parties.node.context import RunContext
from parties.node.ensemble_feature import EnsembleFeatureParty
from parties.node.feature import FeatureParty
from parties.node.screen_feature import ScreenFeatureParty
from parties.node.sealed_feature import SealedFeatureParty
from parties.node.trees_feature import TreesFeatureParty
from vfl.terms import EnsembleModel, ScreenModel, SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["feature_party"]


def feature_party(context: RunContext, entities: tuple[str, ...]) -> FeatureParty:
    """A feature party's part in a run of the agreed kind of model."""
    static = context.agreement.static
    if static is not None and static.classes is not None:
        return ClassesFeatureParty(context, entities)
    match context.agreement.model:
        case SealedModel():
            return SealedFeatureParty(context, entities)
        case TreesModel():
            return TreesFeatureParty(context, entities)
        case EnsembleModel():
            return EnsembleFeatureParty(context, entities)
        case ScreenModel():
            return ScreenFeatureParty(context, entities)
        case _:
            return FeatureParty(context, entities)
