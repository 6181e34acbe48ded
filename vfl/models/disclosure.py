"""What a run discloses, said of any kind of model: the sizes it depends on, and what deserves a second look."""

from __future__ import annotations

from dataclasses import dataclass

from vfl.terms import OpeningTerms

__all__ = ["Caution", "RunSizes"]


@dataclass(frozen=True, slots=True)
class RunSizes:
    """The sizes of a run on which it depends what its model opens.

    feature_parties, features, label_columns: how many there are. counted_features: columns that openings are measured
    against. own_features: those of the party that reads, 0 for the label party. row_limit: openings of a row at most.
    """

    feature_parties: int
    features: int
    counted_features: int
    own_features: int
    label_columns: int
    row_limit: int
    openings: OpeningTerms


@dataclass(frozen=True, slots=True)
class Caution:
    """A term that lowers somebody's protection or pay: where it stands in the agreement, and what it means."""

    term: str
    words: str
