"""Terms of a run on shares, a sealed network or trees: its anchor, what opens, what other kinds have and it lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from parties.agreement.federated_terms import check_federated, with_federated_defaults
from parties.agreement.product_terms import check_products, product_pairs
from parties.agreement.screen_terms import check_screen
from parties.agreement.tied_terms import tied_groups
from parties.names import COORDINATOR, entity_key
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET
from vfl.models.sealed.messages import Members
from vfl.terms import AnchoredModel, EnsembleModel, FederatedModel, ScreenModel
from vfl.tree_terms import TreesModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["Candidate", "check_sealed", "chosen_anchor", "same_entity", "sealed_members", "with_kind_defaults"]


class Candidate(Protocol):
    """A party as terms or settings know it."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...

    @property
    def legal_entity(self) -> str: ...


def same_entity(one: str, other: str) -> bool:
    """Whether two names are of one legal entity, however spelt; no name is nobody's."""
    return bool(one) and entity_key(one) == entity_key(other)


def chosen_anchor(parties: Sequence[Candidate], columns: Mapping[str, int]) -> str:
    """The anchor where none is named: the feature party with most columns that is not of the label party's entity.

    "" where there is none.
    """
    label = next((party for party in parties if party.role == "label"), None)
    found = [
        party
        for party in parties
        if party.role == "feature" and not (label and same_entity(party.legal_entity, label.legal_entity))
    ]
    return max(found, key=lambda party: columns[party.name]).name if found else ""


def with_kind_defaults(given: Any) -> Any:
    """Raw terms with the defaults that belong to a sealed model where they say nothing: parameter set, contribution."""
    if not isinstance(given, Mapping):
        return given
    model = given.get("model")
    kind = model.get("kind") if isinstance(model, Mapping) else getattr(model, "kind", None)
    openings = given.get("openings", {})
    if kind == "federated":
        return with_federated_defaults(given)
    if kind not in ("sealed", "trees", "ensemble", "screen"):
        return given
    filled = {"parameter_set": COEFFICIENT_SET} | dict(given)
    if isinstance(openings, Mapping):
        unvalued = kind in ("ensemble", "screen") or _classes(given.get("static"))
        filled["openings"] = {"contribution": "none" if unvalued else "moments"} | dict(openings)
    search = given.get("search")
    if kind == "sealed" and isinstance(search, Mapping):
        filled["search"] = {"kind": "sealed"} | dict(search)
    return filled


def _classes(static: Any) -> bool:
    """Whether raw terms say that a label has several classes."""
    said = static.get("classes") if isinstance(static, Mapping) else getattr(static, "classes", None)
    return said is not None


def sealed_members(agreement: Agreement) -> Members:
    """Who takes part, and as what."""
    assert isinstance(agreement.model, AnchoredModel)
    return Members(
        label=agreement.label.party,
        anchor=agreement.model.anchor,
        features={party.name: len(party.columns) for party in agreement.features},
        own=len(agreement.party(agreement.label.party).columns),
        tied=tied_groups(agreement),
        products=product_pairs(agreement),
    )


def _check_ensemble(agreement: Agreement, model: EnsembleModel) -> None:
    openings, evaluation = agreement.openings, agreement.evaluation
    if agreement.calendar is None:
        raise ValueError(
            "an ensemble averages ranks within periods, and static data has none: set "
            'model.kind = "sealed" or model.kind = "trees"'
        )
    if openings.contribution != "none":
        raise ValueError(
            "an ensemble averages ranks of scores that are open, and coalitions' scores never are: set "
            'openings.contribution = "none", and value the parties by runs of coalitions, or in a run of one part '
            'alone, model.kind = "sealed" or model.kind = "trees"'
        )
    missing = model.opened_scores - agreement.openings_left
    if missing > 0:
        raise ValueError(
            f"an ensemble opens {model.opened_scores} scores of each predicted row, and {agreement.openings_left} are "
            f"left of openings.limit_per_row: raise it to {openings.limit_per_row + missing} or more"
        )
    if model.chosen_by_periods and evaluation.first not in agreement.periods[1:]:
        raise ValueError(
            "several model.trees_share or model.weights are chosen among by periods before evaluation.first, and those "
            "from it on are reported: name that period, or one of them"
        )


def check_sealed(agreement: Agreement) -> None:
    """Raise ValueError for what contradicts, or does not exist for, a sealed model."""
    model, openings = agreement.model, agreement.openings
    assert isinstance(model, AnchoredModel)
    if isinstance(model, ScreenModel):
        check_screen(agreement)
        return
    if isinstance(model, FederatedModel):
        check_federated(agreement, model)
        return
    names = [party.name for party in agreement.features]
    if len(names) > 8:
        raise ValueError('a sealed model takes 1 to 8 feature parties: set model.kind = "ridge" for more')
    if not model.anchor:
        raise ValueError(
            "every feature party belongs to the label party's legal entity, so none can be model.anchor: invite "
            'another, or set model.kind = "split"'
        )
    if model.anchor == COORDINATOR:
        raise ValueError(
            "the coordinator cannot be model.anchor: it takes part in no session between parties and keeps no count of "
            f"openings; name a feature party of the run: {', '.join(names)}"
        )
    if model.anchor not in names:
        raise ValueError(f"model.anchor is {model.anchor!r} and must be a feature party of the run: {', '.join(names)}")
    label, anchor = agreement.party(agreement.label.party), agreement.party(model.anchor)
    if same_entity(label.legal_entity, anchor.legal_entity):
        raise ValueError(
            f"model.anchor {anchor.name!r} belongs to the label party's legal entity, {label.legal_entity!r}, and the "
            "two together see every embedding: name an anchor of another entity"
        )
    if agreement.walk_forward.horizons:
        raise ValueError('a sealed model has one horizon: set model.kind = "split" for walk_forward.horizons')
    if agreement.search is not None and isinstance(model, TreesModel | EnsembleModel):
        raise ValueError(
            f"{'trees have' if isinstance(model, TreesModel) else 'an ensemble has'} no search: drop [search] and list "
            'model.weights of model.kind = "ensemble", which choose among a line, a network, trees and their averages; '
            'or set model.kind = "sealed" or model.kind = "split"'
        )
    check_products(agreement)
    if isinstance(model, EnsembleModel):
        _check_ensemble(agreement, model)
    if openings.attribution:
        raise ValueError('openings.attribution needs opened sums: set it to false, or model.kind = "split"')
    if openings.contribution == "masked":
        raise ValueError(
            'openings.contribution = "masked" opens single parties\' sums, which a sealed model never does: set it to '
            '"moments" or "none", or model.kind = "split"'
        )
    if agreement.parameter_set != COEFFICIENT_SET:
        raise ValueError(f"a sealed model computes under parameter_set = {COEFFICIENT_SET!r}: leave the term out")
