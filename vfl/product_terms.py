"""Terms of product columns: which formulas of an earlier screen a sealed network has as columns on shares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator

from vfl.agreed import Terms

__all__ = ["MOST_PRODUCTS", "NamedProduct", "Pair", "ProductTerms"]

_FORMULA = re.compile(r"([a-z][a-z0-9_-]{0,31})#([0-9]{1,6}) x ([a-z][a-z0-9_-]{0,31})#([0-9]{1,6})")


MOST_PRODUCTS = 16
"""Product columns of a run: each costs its owners a slot product of the batch in every step."""


@dataclass(frozen=True)
class Pair:
    """``count`` products of a column of ``holder`` times one of ``other``.

    The holder encrypts its halves under a key of its own and keeps a share of the products' weights; the label party
    keeps the other share of them.
    """

    holder: str
    other: str
    count: int

    @property
    def name(self) -> str:
        """Of the block of weights."""
        return f"{self.holder}*{self.other}"

    @property
    def owners(self) -> tuple[str, str]:
        return self.holder, self.other


@dataclass(frozen=True, slots=True)
class NamedProduct:
    """A formula by its two owners, each with the number that it gave its terminal in the screen."""

    numbers: tuple[tuple[str, int], tuple[str, int]]

    @property
    def owners(self) -> tuple[str, str]:
        return self.numbers[0][0], self.numbers[1][0]

    def mine(self, party: str) -> tuple[int, str, int]:
        """The party's own number, whose which other it is multiplied by."""
        (_, own), (other, number) = self.numbers if self.owners[0] == party else self.numbers[::-1]
        return own, other, number


class ProductTerms(Terms):
    """Formulas that a screen named, which become columns on shares; their halves stay with their owners."""

    screen: str = Field(pattern=r"^[0-9a-f]{64}$", description="run id of the screen that named the formulas")
    formulas: tuple[str, ...] = Field(
        min_length=1,
        max_length=MOST_PRODUCTS,
        description="as the screen's report has them, such as alpha#12 x beta#7; numbers are their owners' own",
    )

    @field_validator("formulas")
    @classmethod
    def _products(cls, formulas: tuple[str, ...]) -> tuple[str, ...]:
        found = set()
        for formula in formulas:
            read = _FORMULA.fullmatch(formula)
            if read is None or read[1] == read[3]:
                raise ValueError(
                    f"model.products.formulas has {formula!r}, which is no product of two parties: write one as the "
                    "report of the screen has it, such as alpha#12 x beta#7"
                )
            found.add(frozenset([(read[1], int(read[2])), (read[3], int(read[4]))]))
        if len(found) < len(formulas):
            raise ValueError("model.products.formulas names a formula twice: leave one out")
        return formulas

    @property
    def named(self) -> tuple[NamedProduct, ...]:
        """In the order of the terms."""
        read = (_FORMULA.fullmatch(formula) for formula in self.formulas)
        return tuple(NamedProduct(((one[1], int(one[2])), (one[3], int(one[4])))) for one in read if one is not None)

    def pairs(self, parties: Sequence[str]) -> tuple[Pair, ...]:
        """How many products each two of the feature parties, in agreed order, have together."""
        return tuple(Pair(*owners, len(list(self.of(owners)))) for owners in self._owners(parties))

    def _owners(self, parties: Sequence[str]) -> list[tuple[str, str]]:
        found = {tuple(sorted(one.owners, key=list(parties).index)) for one in self.named}
        return sorted(((a, b) for a, b in found), key=lambda two: [list(parties).index(name) for name in two])

    def of(self, owners: tuple[str, str]) -> Iterator[NamedProduct]:
        """Those of two parties, in the order of the terms: the order of their columns."""
        return (one for one in self.named if set(one.owners) == set(owners))
