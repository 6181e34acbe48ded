"""What earlier runs opened of the rows of a run that is drafted, as far as a coordinator is told: no row, a most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from parties.agreement.document import Agreement
from parties.coordinator.known_run import KnownRun
from vfl.terms import AnchoredModel, ScreenModel

__all__ = ["used_openings"]


def used_openings(agreement: Agreement, runs: Iterable[KnownRun]) -> Iterator[str]:
    """A sentence for each earlier run that leaves too few openings of rows that are sure to be common again.

    Sure are those of a run of the same parties, or of these and others, over periods that are predicted again. Nodes
    count for themselves and refuse such a run before they sign.
    """
    sealed = isinstance(agreement.model, AnchoredModel)
    screened = isinstance(agreement.model, ScreenModel)
    names = {party.name for party in agreement.parties}
    needed = agreement.opened_scores if sealed else 1 + agreement.reserved_openings
    for known in runs:
        earlier = known.agreement
        most = max((used.max_used for used in known.progress.openings()), default=0)
        other = (isinstance(earlier.model, AnchoredModel), isinstance(earlier.model, ScreenModel)) != (sealed, screened)
        if not most or other or most + needed <= agreement.row_limit:
            continue
        shared = set(_predicted(earlier)) & set(_predicted(agreement))
        if names <= {party.name for party in earlier.parties} and shared:
            yield (
                f"Run {known.state.run[:12]} opened rows of these parties up to {most} times, and this run needs "
                f"{needed} more: with a limit of {agreement.row_limit} their nodes will refuse it. Allow "
                f"{most + needed} openings of a row, or predict periods after {max(shared)}."
            )


def _predicted(agreement: Agreement) -> tuple[str, ...]:
    """Periods that can be predicted, if every label is known as soon as the horizon has passed; a screen takes all."""
    if isinstance(agreement.model, ScreenModel):
        return agreement.periods
    walk = agreement.walk_forward
    return agreement.periods[walk.warmup - 1 + max(1, walk.longest + walk.embargo) :]
