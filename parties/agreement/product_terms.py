"""Product columns of a run: who has them together, and what other runs have and these lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vfl.models.disclosure import Caution
from vfl.models.sealed.scales import SCORE_BITS
from vfl.product_terms import Pair, ProductTerms
from vfl.terms import EnsembleModel, SealedModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["check_products", "co_owners", "product_cautions", "product_lines", "product_pairs", "products_of_run"]


def products_of_run(agreement: Agreement) -> ProductTerms | None:
    """The terms of a run's product columns; None where it has none."""
    return agreement.model.products if isinstance(agreement.model, SealedModel) else None


def product_pairs(agreement: Agreement) -> tuple[Pair, ...]:
    """Who has how many products together."""
    terms = products_of_run(agreement)
    return () if terms is None else terms.pairs([party.name for party in agreement.features])


def co_owners(agreement: Agreement, party: str) -> tuple[str, ...]:
    """Who owns the other half of this party's products, and together with the label party can read its own half."""
    pairs = [pair.owners for pair in product_pairs(agreement) if party in pair.owners]
    return tuple(name for owners in pairs for name in owners if name != party)


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
    assert isinstance(model, SealedModel)
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
        if agreement.openings.contribution != "none" and model.anchor in one.owners:
            raise ValueError(
                f"model.products.formulas has {formula}, and {model.anchor} is the anchor: where contributions are "
                f"valued it could read the other owner's half together with {label}; set model.anchor to another "
                'party, or openings.contribution = "none"'
            )


def product_lines(agreement: Agreement) -> Iterator[str]:
    """What product columns are, and what they show to whom."""
    model, pairs = agreement.model, product_pairs(agreement)
    if not isinstance(model, SealedModel) or model.products is None:
        return
    terms = model.products
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
    label, drawn = agreement.label.party, agreement.alignment.hides_coverage
    for pair in pairs:
        yield (
            f"{label} together with {pair.holder}, or with {pair.other}, has the weights of their products before and "
            "after every step, and so in every step a sum over rows of the other's half times factors that they nearly "
            f"know: in time they can read a half that changes slowly. If {label} cheats, they can read it whole, and "
            "no opening is charged for it."
        )
        yield (
            f"If {pair.holder} or {pair.other} cheats and receives the factor, it can read the other's half of their "
            f"products, up to {SCORE_BITS} bits of each row"
            f"{', and which rows the other does not cover' if drawn else ''}. If {pair.other} cheats together with "
            f"{label}, they can read {pair.holder}'s half."
        )
    if agreement.openings.contribution != "none":
        yield (
            f"As contributions are valued, {label} and {model.anchor} together see of each row what the products of "
            "two owners add to its embedding."
        )


def product_cautions(agreement: Agreement, me: str) -> Iterator[Caution]:
    """What having a half of a product shows to whom. Of ``me`` alone, where it has one; of everybody without ``me``."""
    label = agreement.label.party
    for pair in product_pairs(agreement):
        for mine, other in (pair.owners, pair.owners[::-1]):
            if me not in ("", mine):
                continue
            read = f"can read {mine}'s half of their products"
            yield Caution("model.products", f"{label} and {other} together {read}: in time, or whole if {label} cheats")
            if other in agreement.recipients:
                yield Caution("model.products", f"{other} receives the factor: if it cheats, it {read}")
