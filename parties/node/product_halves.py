"""A party's halves of product columns: which of its terminals they are, as its own screen told it, and their values.

The agreement names formulas by numbers that only their owners can read. Each owner reads its own in what it kept of the
screen, and makes the terminal again at home, point in time, from today's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.product_terms import product_pairs, products_of_run
from parties.data.calendar import calendar_of
from parties.data.terminals import named_terminals, read_named
from parties.errors import AgreementError, ConfigError, DataError
from parties.node.context import RunContext
from parties.node.earlier_runs import proposed_before
from parties.node.screen_won import WonLine, kept_won
from parties.settings.consortium import PartySettings
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.pairs import half_columns
from vfl.product_terms import ProductTerms
from vfl.terms import ScreenModel

__all__ = ["check_halves", "own_halves"]

I64 = NDArray[np.int64]


def check_halves(agreement: Agreement, home: Path, me: str, settings: PartySettings) -> None:
    """Raise unless this node can make its halves of the agreed products.

    Raises :class:`AgreementError` with words for everybody, and :class:`DataError` with the name of a terminal, or a
    formula that it was not told of, for this party's operators alone.
    """
    terms = products_of_run(agreement)
    if terms is None or all(me not in one.owners for one in terms.named):
        return
    screen, label = proposed_before(home, terms.screen), agreement.label.party
    if screen is None or not isinstance(screen.model, ScreenModel) or screen.label.party != label:
        raise AgreementError(
            f"{me} knows of no screen of formulas {terms.screen[:12]} for a label of {label}: name one that this node "
            "took part in (model.products.screen)"
        )
    makes = named_terminals(settings.own_columns, settings.terminals)
    for name in _names(terms, home, me):
        if name not in makes:
            raise DataError(
                f"the screen {terms.screen[:12]} named {name!r}, which [party.terminals] and the columns of today do "
                "not make any more: set operators, windows and columns as they were then, or have the formula left out"
            )


def own_halves(context: RunContext, entities: tuple[str, ...]) -> dict[str, I64]:
    """This party's halves (T * n, count) of every pair that it has products in; none where the run has no products."""
    agreement, me = context.agreement, context.me
    terms = products_of_run(agreement)
    if terms is None or all(me not in one.owners for one in terms.named):
        return {}
    names, party = _names(terms, context.folder, me), context.settings.party
    absent = None
    if agreement.alignment.hides_coverage:
        absent = SecretStream(context.secret(f"absent-halves/{context.run_id}"))
    read = read_named(
        party, context.queries, context.data, calendar_of(agreement.dated), entities, names, absent=absent
    )
    values = dict(zip(names, read.reshape(-1, len(names)).T, strict=True))
    found = {}
    for pair in product_pairs(agreement):
        if me in pair.owners:
            chosen = [values[_name(terms, context.folder, me, one.mine(me))] for one in terms.of(pair.owners)]
            ranks = np.stack(chosen, axis=1)
            found[pair.name] = half_columns(ranks, agreement.fixed_point, holder=me == pair.holder)
    return found


def _names(terms: ProductTerms, home: Path, me: str) -> tuple[str, ...]:
    """This party's own terminals in the products, each once."""
    mine = (one.mine(me) for one in terms.named if me in one.owners)
    return tuple(dict.fromkeys(_name(terms, home, me, numbers) for numbers in mine))


def _name(terms: ProductTerms, home: Path, me: str, numbers: tuple[int, str, int]) -> str:
    """The terminal of one formula, as this node was told in the screen.

    Which formulas it was not told of, this party's operators alone read: a proposal could ask for one after another.
    """
    told = _told(terms, home, me)
    if numbers not in told:
        own, other, other_number = numbers
        raise DataError(
            f"the screen {terms.screen[:12]} told {me} of no named formula {me}#{own} x {other}#{other_number}: name "
            "formulas of its report that are named, among the best 50 of each owner (model.products.formulas)"
        )
    return told[numbers].column


def _told(terms: ProductTerms, home: Path, me: str) -> Mapping[tuple[int, str, int], WonLine]:
    kept = kept_won(home / "runs" / terms.screen)
    if kept is None:
        raise AgreementError(
            f"{me} keeps nothing of the screen {terms.screen[:12]}: it has not come to its end there, or its folder is "
            "gone; restore it from a backup, or screen again"
        )
    found = {(line.number, line.other_party, line.other_number): line for line in kept[1]}
    if kept[1] and all(line.number < 0 for line in kept[1]):
        raise ConfigError(
            f"{me} kept the screen {terms.screen[:12]} under an earlier version, without the numbers of its formulas: "
            "screen again"
        )
    return found
