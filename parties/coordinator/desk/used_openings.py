"""What earlier runs opened of the rows of a run that is drafted, as far as a coordinator is told: no row, a most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parties.agreement.document import Agreement
from parties.coordinator.known_run import KnownRun
from vfl.terms import AnchoredModel, ScreenModel, SplitModel

__all__ = ["opened_before", "used_openings"]


def used_openings(agreement: Agreement, runs: Iterable[KnownRun]) -> Iterator[str]:
    """A sentence for each earlier run that leaves too few openings of rows that are sure to be common again.

    Sure are those of a run of the same parties, or of these and others, over periods that are predicted again. Nodes
    count for themselves and refuse such a run before they sign.
    """
    sealed = isinstance(agreement.model, AnchoredModel)
    names = {party.name for party in agreement.parties}
    needed = agreement.opened_scores if sealed else 1 + agreement.reserved_openings
    for known in runs:
        earlier = known.agreement
        most = max((used.max_used for used in known.progress.openings()), default=0)
        if not most or _counted(earlier) != _counted(agreement) or most + needed <= agreement.row_limit:
            continue
        shared = set(_predicted(earlier)) & set(_predicted(agreement))
        if names <= {party.name for party in earlier.parties} and shared:
            yield (
                f"Run {known.state.run[:12]} opened rows of these parties up to {most} times, and this run needs "
                f"{needed} more: with a limit of {agreement.row_limit} their nodes will refuse it. Allow "
                f"{most + needed} openings of a row, or predict periods after {max(shared)}."
            )


def opened_before(agreement: Agreement, runs: Iterable[KnownRun]) -> int:
    """The most that any row of this run may have been opened by earlier ones, as far as a coordinator is told.

    A node's count of an earlier run is of all runs up to it, so the largest of those that may share a row is the most.
    """
    features, periods = {party.name for party in agreement.features}, set(_opened(agreement))
    return max(
        (
            -(-used.max_used * _width(known.agreement) // _width(agreement))
            for known in runs
            if _counted(known.agreement) == _counted(agreement) and periods.intersection(_opened(known.agreement))
            for used in known.progress.openings()
            if used.party in features
        ),
        default=0,
    )


def _counted(agreement: Agreement) -> tuple[bool, bool]:
    """What nodes count of a row in such a run: scores, label vectors or sums, each apart."""
    return isinstance(agreement.model, AnchoredModel), isinstance(agreement.model, ScreenModel)


def _width(agreement: Agreement) -> int:
    """Linear forms of one opening: where sums open, they are what adds up over runs."""
    return 1 if any(_counted(agreement)) else agreement.model.embedding_width


def _opened(agreement: Agreement) -> tuple[str, ...]:
    """Periods with rows that may open: a split network's training opens some too, and a score's are its own."""
    if isinstance(agreement.model, SplitModel) or agreement.scores is not None:
        return agreement.periods
    return _predicted(agreement)


def _predicted(agreement: Agreement) -> tuple[str, ...]:
    """Periods that can be predicted, if every label is known as soon as the horizon has passed; a screen takes all."""
    if isinstance(agreement.model, ScreenModel):
        return agreement.periods
    walk = agreement.walk_forward
    return agreement.periods[walk.warmup - 1 + max(1, walk.longest + walk.embargo) :]
