"""What this node let open in earlier runs, held against a plan before it is signed.

A row's openings are counted over all runs, so a run on the same rows may have no opening left. Without this check that
shows when everybody has signed and trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from parties.agreement.document import Agreement
from parties.errors import AgreementError
from parties.node.earlier_runs import proposed_before
from parties.node.openings import Counted, OpeningStore
from vfl.terms import AnchoredModel, FederatedModel, ScreenModel, SplitModel

__all__ = ["check_counted", "counted_lines"]

_WORDS: dict[Counted, str] = {
    "sums": "openings",
    "scores": "opened scores",
    "numbers": "valuations and screens",
}


def check_counted(agreement: Agreement, folder: Path, me: str, entities: Sequence[str], openings: OpeningStore) -> None:
    """Raise :class:`AgreementError` where rows that this run is sure to open have no opening left.

    Sure, as far as can be known without labels, are the rows of an earlier run of the same parties, or of these and
    others, whose rows are common again. Of other earlier runs :func:`counted_lines` says what was opened.
    """
    for kind, needed, first, most in _most_counted(agreement, folder, me, entities, openings, sure=True):
        if most + needed > agreement.row_limit:
            raise AgreementError(
                f"rows from {first} on have {most} {_WORDS[kind]} of earlier runs and this run needs {needed} more, "
                f"but the agreement allows {agreement.row_limit} over all runs: agree to an openings.limit_per_row of "
                f"{most + needed} or more, or propose later periods"
            )


def counted_lines(
    agreement: Agreement, folder: Path, me: str, entities: Sequence[str], openings: OpeningStore
) -> Iterator[str]:
    """What earlier runs opened of this run's rows, for whoever signs."""
    for kind, needed, first, most in _most_counted(agreement, folder, me, entities, openings, sure=False):
        if most:
            yield (
                f"Earlier runs used up to {most} of {agreement.row_limit} {_WORDS[kind]} of a row (first in {first}); "
                f"this run needs {needed}."
            )


def _most_counted(
    agreement: Agreement, folder: Path, me: str, entities: Sequence[str], openings: OpeningStore, *, sure: bool
) -> Iterator[tuple[Counted, int, str, int]]:
    """For each thing that is counted here: how often this run needs it of a row, where most was used, and how much."""
    names = {party.name for party in agreement.parties}
    earlier = {
        run_id
        for run_id in openings.begun()
        if run_id != agreement.run_id and (not sure or _held_all(folder, run_id, names))
    }
    if not earlier:
        return
    periods = agreement.periods
    for kind, needed, start in _needed(agreement, me):
        width = 1 if kind != "sums" else agreement.model.embedding_width
        used = openings.before(agreement.run_id, entities, periods, width, counted=kind, only=earlier)
        by_period = used.reshape(len(periods), len(entities))[start:].max(axis=1, initial=0)
        if by_period.size:
            yield kind, needed, periods[start + int(np.argmax(by_period))], int(by_period.max())


def _held_all(folder: Path, run_id: str, names: set[str]) -> bool:
    """Whether a run was of these parties and perhaps others, so that its rows are common to these as well."""
    earlier = proposed_before(folder, run_id)
    return earlier is not None and names <= {party.name for party in earlier.parties}


def _first_predicted(agreement: Agreement) -> int:
    """The first period that can be predicted, whatever labels there are."""
    walk = agreement.walk_forward
    return walk.warmup - 1 + max(1, walk.longest + walk.embargo)


def _needed(agreement: Agreement, me: str) -> Iterator[tuple[Counted, int, int]]:
    """What this node counts in this run, how often at least of a row, and from which period on."""
    start = _first_predicted(agreement)
    if me == agreement.label.party or isinstance(agreement.model, FederatedModel):
        return
    if isinstance(agreement.model, ScreenModel):
        yield "numbers", 1, 0
    elif isinstance(agreement.model, AnchoredModel):
        if agreement.model.anchor == me:
            yield "scores", agreement.opened_scores, start
            if agreement.openings.contribution == "moments":
                yield "numbers", 1, start
    elif isinstance(agreement.model, SplitModel):
        yield "sums", 1, 0
        yield "sums", 1 + agreement.reserved_openings, start
    else:
        yield "sums", 1, start
