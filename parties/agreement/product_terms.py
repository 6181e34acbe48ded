"""Product columns of a run: who has them together, and what other runs have and these lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vfl.product_terms import Pair, ProductTerms
from vfl.terms import EnsembleModel, SealedModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["check_products", "product_lines", "product_pairs", "products_of_run"]


def products_of_run(agreement: Agreement) -> ProductTerms | None:
    """The terms of a run's product columns; None where it has none."""
    return agreement.model.products if isinstance(agreement.model, SealedModel) else None


def product_pairs(agreement: Agreement) -> tuple[Pair, ...]:
    """Who has how many products together."""
    terms = products_of_run(agreement)
    return () if terms is None else terms.pairs([party.name for party in agreement.features])


def check_products(agreement: Agreement) -> None:
    """Raise ValueError for products that this run cannot have."""
    model = agreement.model
    if isinstance(model, EnsembleModel) and (model.linear.products or model.network.products):
        raise ValueError(
            'products are columns of model.kind = "sealed" alone: leave them out of an ensemble\'s members'
        )
    terms = products_of_run(agreement)
    if terms is None:
        return
    names, label = [party.name for party in agreement.features], agreement.label.party
    if agreement.calendar is None:
        raise ValueError("model.products are of terminals over periods, and static data has none: leave it out")
    if agreement.groups:
        raise ValueError(
            "model.products and groups do not go together, since a group's members bring one party's columns: leave "
            "model.products out, or list the members as parties without [[groups]]"
        )
    for formula, one in zip(terms.formulas, terms.named, strict=True):
        if label in one.owners:
            raise ValueError(
                f"model.products.formulas has {formula}, with a terminal of {label}'s own, the label party's, which is "
                "not built: leave it out; each of the two may keep its terminal as a column (terminals.keep), and the "
                "squared columns have their product"
            )
        for owner in one.owners:
            if owner not in names:
                raise ValueError(
                    f"model.products.formulas has {formula}, and {owner} takes no part in the run: leave the formula "
                    "out, or model.products where none is left"
                )
            if owner in agreement.kin:
                raise ValueError(
                    f"model.products.formulas has {formula}, and {owner} belongs to {label}'s legal entity: the two "
                    "could read the other owner's half by answers that they make up; leave the formula out"
                )


def product_lines(agreement: Agreement) -> Iterator[str]:
    """What product columns are, and what they show to whom."""
    terms, pairs = products_of_run(agreement), product_pairs(agreement)
    if terms is None:
        return
    told = "; ".join(f"{pair.count} of {pair.holder} and {pair.other}" for pair in pairs)
    yield (
        f"Product columns: {', '.join(terms.formulas)}, named by screen {terms.screen[:12]} ({told}). Numbers are the "
        "owners' own and say nothing of a column, but that these formulas were named is told to everybody here. They "
        "were chosen by labels of the screen's periods, so the factor is to be judged on later ones."
    )
    yield (
        "Of a product column the two owners make shares anew in every step; nobody keeps them, and nothing more opens. "
        "A coalition without one of the two owners has no such column, so what a product is worth is shared by both."
    )
    for pair in pairs:
        yield (
            f"{agreement.label.party} together with {pair.holder}, or with {pair.other}, has the weights of their "
            f"products whole. If {pair.other} cheats and sees scores, as a recipient or together with the label party, "
            f"it can read {pair.holder}'s half of them."
        )
