"""Two runs and more side by side: what they reached, by how much one exceeds another, which terms differ."""

from __future__ import annotations

from typing import Annotated, Protocol

from pydantic import Field

from parties.calls.asking import Asking, Question
from parties.calls.views import RunSummary, SeriesPoint, View

__all__ = [
    "COMPARED",
    "CompareQuestion",
    "ComparedRun",
    "ComparisonCalls",
    "ComparisonView",
    "DifferenceView",
    "TermRow",
]

COMPARED = 5
"""How many runs stand side by side at most."""


class CompareQuestion(Question):
    """Runs by their ids; the others are compared with the first."""

    run_ids: Annotated[tuple[str, ...], Field(min_length=2, max_length=COMPARED)]


class ComparedRun(View):
    """One of the runs. ``numbers``: name to value; what is not known, or not the caller's to see, is not in it."""

    summary: RunSummary
    factor_id: str = ""
    version: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)
    series: tuple[SeriesPoint, ...] = ()


class DifferenceView(View):
    """A run against the first: mean of its rank ICs less the first's over the periods of both, in correlation.

    ``likeness``: mean rank correlation of both factors' scores over ``dates`` common dates, where the coordinator has
    both and the caller may see them.
    """

    run_id: str
    n_periods: int = 0
    mean: float | None = None
    t: float | None = None
    low: float | None = None
    high: float | None = None
    likeness: float | None = None
    dates: int = 0


class TermRow(View):
    """A term in which the agreements differ: its value in each, in the order of the runs."""

    name: str
    values: tuple[str, ...]


class ComparisonView(View):
    """The runs in the order that was asked for."""

    runs: tuple[ComparedRun, ...]
    differences: tuple[DifferenceView, ...] = ()
    terms: tuple[TermRow, ...] = ()


class ComparisonCalls(Asking, Protocol):
    """Calls about several runs at once."""

    def compare(self, question: CompareQuestion) -> ComparisonView:
        """The runs side by side; :class:`AgreementError` where one is not the caller's to see."""
        return self.ask("runs/compare", question, ComparisonView)
