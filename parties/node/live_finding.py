"""Live contributions that a label party's node can attest: from the later runs that it has valued and keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parties.agreement.document import Agreement
from parties.errors import ConfigError, LedgerError
from parties.node.kept_contribution import kept_contribution
from parties.node.settlements import signed_agreement
from parties.settlement.live_record import LiveRecord
from parties.settlement.live_values import live_values
from parties.settlement.proposals import settlement_rules

if TYPE_CHECKING:
    from parties.node.home import NodeHome

__all__ = ["FoundLive", "find_live"]


@dataclass(frozen=True)
class FoundLive:
    """The unsigned record, the run that valued its periods, and how many periods are still missing."""

    record: LiveRecord
    later: str
    missing: int


def find_live(home: NodeHome, start: str, source: str = "") -> FoundLive:
    """Of the run that begins with ``start``, by the later run ``source`` or the one with most live periods.

    Raises :class:`ConfigError` for runs that are not here, :class:`LedgerError` where no later run has any.
    """
    signed = dict(_signed(home))
    run_id, agreement = _one(signed, start)
    later = {run: one for run, one in signed.items() if run != run_id and run.startswith(source)}
    if source:
        chosen, _ = _one(later, source)
        later = {chosen: later[chosen]}
    found: list[tuple[str, LiveRecord]] = []
    why = ""
    for later_id, other in later.items():
        valued = kept_contribution(home.folder, later_id, other)
        if valued is None:
            why = why or (f"run {later_id[:12]} has not been valued" if source else "")
            continue
        try:
            found.append((later_id, live_values(run_id, agreement, later_id, other, valued)))
        except LedgerError as error:
            why = str(error)
    if not found:
        raise LedgerError(
            why
            or f"no later run was valued here: propose one with the terms of run {run_id[:12]} over a longer calendar "
            "(entente run propose), and come back when it has valued its contributions"
        )
    # of two that say as much, the newer counts
    best, record = max(found, key=lambda one: (len(one[1].periods), signed[one[0]].proposed_at))
    return FoundLive(record, best, max(0, settlement_rules(agreement).live_periods - len(record.periods)))


def _signed(home: NodeHome) -> Iterator[tuple[str, Agreement]]:
    """The runs that this node signed as their label party."""
    with home.audit() as audit:
        for folder in sorted((home.folder / "runs").glob("*")):
            agreement = signed_agreement(home.folder, audit, folder.name)
            if agreement is not None and agreement.label.party == home.identity.name:
                yield folder.name, agreement


def _one(runs: dict[str, Agreement], start: str) -> tuple[str, Agreement]:
    found = [run for run in runs if run.startswith(start.lower())]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} runs begin with {start!r} that this node signed as their label party: see entente "
            "run list --home NODE"
        )
    return found[0], runs[found[0]]
