"""What opens in a sealed run, counted in bits and said in words: for terms before signing, and for audit reports."""

from __future__ import annotations

from dataclasses import dataclass

from vfl.models.sealed.messages import Members
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import SealedModel

__all__ = ["COLLUSION", "NUMBER_BITS", "SealedOpenings", "collusion", "sealed_openings"]

NUMBER_BITS = 32
"""Bits of an opened number of a coalition and period."""

COLLUSION = (
    "{label} and {anchor} together would see what {label} would see if every embedding of the other feature parties "
    "opened without limit; either of them without the other sees nothing of it"
)


def collusion(members: Members) -> str:
    """The sentence that is shown wherever the anchor is."""
    return COLLUSION.format(label=members.label, anchor=members.anchor)


@dataclass(frozen=True)
class SealedOpenings:
    """Everything that opens, to the label party alone. rows: scores; numbers: of coalitions, two a period each."""

    rows: int
    numbers: int
    words: tuple[str, ...]

    @property
    def bits(self) -> int:
        """Bits that can arrive at the label party, whatever it does."""
        return self.rows * SCORE_BITS + self.numbers * NUMBER_BITS


def sealed_openings(
    terms: SealedModel, members: Members, *, predicted: int, coalitions: int = 0, periods: int = 0
) -> SealedOpenings:
    """What a run of ``predicted`` scores and ``coalitions`` valued over ``periods`` opens."""
    numbers = 2 * coalitions * periods
    words = [
        f"training opens nothing: {members.label} and {members.anchor} hold uniform shares of everything",
        f"of each predicted row its score opens to {members.label}, {SCORE_BITS} bits: {predicted} rows; "
        f"{members.anchor} counts them and refuses a row past {terms.scores_per_row} over all runs",
        f"a {members.label} that cheats learns at most {SCORE_BITS} bits per opened score, of rows of its choice",
    ]
    if numbers:
        words.append(
            f"of each of {coalitions} coalitions and {periods} periods two numbers open to {members.label}: the "
            f"covariance of the coalition's score with the label and the score's variance, {NUMBER_BITS} bits each, "
            "no row"
        )
    words.append(collusion(members))
    return SealedOpenings(predicted, numbers, tuple(words))
