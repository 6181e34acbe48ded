"""A group's expansion in what is signed: what is refused, and what opens of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from parties.agreement.terms import PartyTerms
from vfl.federated.expansion import VALUES_A_MOMENT
from vfl.federated_terms import RING_BITS

if TYPE_CHECKING:
    from parties.agreement.group_terms import GroupTerms

__all__ = ["check_expansion", "expansion_sentences"]

_WIDEST = 256
"""Features whose products are added up: beyond, a sum is of more numbers than a session should carry."""


def check_expansion(group: GroupTerms, columns: Sequence[str], parties: Sequence[PartyTerms], periods: int) -> None:
    """Raise ValueError for an expansion that sums cannot fit, or that a member does not offer. columns: the members'
    own.
    """
    terms, here = group.expand, f"group {group.name}"
    together = f"group {group.name} together"
    for party in parties:
        if (together in party.expansion) != (terms is not None):
            raise ValueError(
                f"{here}: [party.expand] of {party.name} and [group.expand] do not agree: name the group as "
                "expand.group in its node.toml and give the group an expand, or neither"
            )
    if terms is None:
        return
    unknown = sorted(set(terms.columns) - set(columns))
    if unknown:
        raise ValueError(f"{here}: expand.columns name {unknown[0]!r}, which no member has: leave it out")
    if terms.trees:
        raise ValueError(
            f"{here}: where a random tree cuts is decided by single rows, which no sum of members gives: set "
            "group.expand.trees = 0 and take fourier or bins, or let each member fit its own without expand.group"
        )
    width = terms.width(len(terms.read(tuple(columns))))
    if terms.fits and not terms.outputs < width <= _WIDEST:
        raise ValueError(
            f"{here}: group.expand makes {width} features of the members' columns, to be reduced to {terms.outputs}: "
            f"it needs more features than outputs, and {_WIDEST} at most; change fourier, bins or outputs"
        )
    if terms.fits and terms.fit_periods >= periods:
        raise ValueError(
            f"{here}: expand.fit_periods = {terms.fit_periods} of {periods} periods leave none to make columns for: "
            "lower it"
        )
    if terms.fits and group.noise:
        raise ValueError(
            f"{here}: group.noise hides whether a member took part, and sums of an expansion carry none: set "
            "group.noise = 0, or take what is fitted out of group.expand"
        )
    for party in parties:
        if not set(terms.output_columns(tuple(columns))) <= set(party.columns):
            raise ValueError(
                f"{party.name} does not offer the expansion of {here}: its node.toml needs [party.expand] with group = "
                f'"{group.name}" and the settings of group.expand'
            )


def expansion_sentences(group: GroupTerms, numbers: tuple[int, int]) -> Iterator[str]:
    """What opens of a group's expansion. numbers: of its two sums."""
    terms, names = group.expand, ", ".join(group.members)
    if terms is None:
        return
    if not terms.fits:
        yield f"The members of group {group.name} make the same signs and hinges of their columns, each at home."
        return
    cells = "and of each column how many scores lie in each of 128 cells, " if terms.bins else ""
    yield (
        f"After the encoder {names} fit one expansion of their columns, on the first {terms.fit_periods} periods, by "
        "two sums of all of them. The first they add up themselves, of uniform shares, and it opens to them alone: "
        f"the number of their rows, {cells}{numbers[0]} numbers. "
        "The second is a secure sum that opens to them and the coordinator: of each feature "
        f"and of each product of two, {numbers[1]} numbers, of {RING_BITS} bits; the number of rows can be worked out "
        "of it. No member's own number opens; all members but one who collude read that one's. A member whose own "
        f"rows, as far as they differ, hold fewer than {VALUES_A_MOMENT * numbers[1]} values takes part in neither, "
        "and the run ends: of few rows such sums can be solved for."
        + (
            " A member that cheats makes its counts up, other ones in each attempt: it places the edges of bins."
            if terms.bins
            else ""
        )
        + " A member that makes its part of the "
        "second sum up, or a coordinator that tells a false total, turns everybody's columns of it. The counts are the "
        "same in every run on the same rows: of a member that is in one such run and not in another, and of what one "
        "member changed in between, their difference is its own"
        + (", and where the edges are alike so is that of the moments of bins." if terms.bins else ".")
    )
