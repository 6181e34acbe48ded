"""The anchor of a run whose terms name none."""

from __future__ import annotations

from collections.abc import Iterable

from parties.agreement.group_terms import GroupTerms
from parties.agreement.sealed_terms import chosen_anchor
from parties.settings.consortium import ConsortiumSettings
from vfl.terms import AnchoredModel, FederatedModel, ScreenModel, SealedModel

__all__ = ["anchored", "unfit_anchors"]


def anchored(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The terms with an anchor, where the model needs one and they name none: one that these terms allow, if any."""
    model = settings.model
    if not isinstance(model, AnchoredModel) or isinstance(model, ScreenModel | FederatedModel) or model.anchor:
        return settings
    columns = {party.name: len(party.output_columns) for party in settings.party}
    unfit = unfit_anchors(settings.group, model, valued=settings.openings.contribution != "none")
    outside = [party for party in settings.party if party.name not in unfit]
    chosen = chosen_anchor(outside, columns) or chosen_anchor(settings.party, columns)
    return settings.model_copy(update={"model": model.model_copy(update={"anchor": chosen})})


def unfit_anchors(groups: Iterable[GroupTerms], model: object, *, valued: bool) -> set[str]:
    """Whom the terms refuse: members of a tied group and, where contributions are valued, owners of products."""
    unfit = {name for group in groups if group.head == "tied" for name in group.members}
    if valued and isinstance(model, SealedModel) and model.products:
        unfit |= {owner for one in model.products.named for owner in one.owners}
    return unfit
