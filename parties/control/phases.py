"""A run's phases, who takes part in each, and the words that name runs and attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from parties.agreement.document import Agreement
from parties.names import COORDINATOR
from psi.flow import Role
from vfl.terms import FederatedModel, ScreenModel

__all__ = ["PHASES", "Attempt", "PhaseName", "Plan", "session_name", "session_roles"]

PhaseName = Literal["approve", "align", "encode", "train", "evaluate", "value", "export", "settle"]
PHASES: tuple[PhaseName, ...] = ("approve", "align", "encode", "train", "evaluate", "value", "export", "settle")
Attempt = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the agreement says about who does what."""

    label: str
    parties: tuple[str, ...]
    recipients: tuple[str, ...]
    matching: bool
    valued: bool
    attributed: bool = False
    screened: bool = False
    scoring: bool = False
    """Whether new periods are scored under weights that were kept: nothing is aligned, judged or valued."""
    fewest: int = 0
    """Of a federated run the members that a sum takes, which the coordinator adds up; of any other nobody."""
    grouped: tuple[str, ...] = ()
    """Members of groups, which train an encoder together before the run's own model; nobody in a run without one."""

    @classmethod
    def of(cls, agreement: Agreement) -> Plan:
        return cls(
            label=agreement.label.party,
            parties=tuple(p.name for p in agreement.parties),
            recipients=agreement.recipients,
            matching=agreement.alignment.matched and not agreement.rows_kept,
            valued=agreement.openings.contribution != "none",
            attributed=agreement.openings.attribution,
            screened=isinstance(agreement.model, ScreenModel),
            scoring=agreement.scores is not None,
            fewest=agreement.model.threshold if isinstance(agreement.model, FederatedModel) else 0,
            grouped=tuple(p.name for p in agreement.parties if any(p.name in g.members for g in agreement.groups)),
        )

    @property
    def phases(self) -> tuple[PhaseName, ...]:
        """The phases of this run in order; only one with a group has encode."""
        return PHASES if self.grouped else tuple(phase for phase in PHASES if phase != "encode")

    @property
    def unscored(self) -> bool:
        """Whether no score of a row opens."""
        return self.screened or bool(self.fewest)

    def participants(self, phase: PhaseName) -> tuple[str, ...]:
        """Who takes part, in agreed order, the coordinator last. Empty: the phase is skipped."""
        everyone = self.parties
        if phase == "encode":
            return (*self.grouped, COORDINATOR) if self.grouped else ()
        if self.fewest:
            return self._members(phase)
        if self.scoring and phase not in ("approve", "train", "settle"):
            # parties take their scores in while they serve; the coordinator serves nothing
            served = phase == "export" and COORDINATOR in self.recipients
            return (self.label, COORDINATOR) if served else ()
        if phase == "align":
            return (*everyone, COORDINATOR) if self.matching else everyone
        if phase == "evaluate":
            return () if self.screened else (self.label,)
        if phase == "value":
            return everyone if self.valued or self.attributed else ()
        if phase == "export":
            takers = set() if self.screened else {self.label, *self.recipients}
            return tuple(name for name in (*everyone, COORDINATOR) if name in takers)
        if phase == "settle":
            return (COORDINATOR,)
        return everyone

    def _members(self, phase: PhaseName) -> tuple[str, ...]:
        """In a federated run all train, value and export; nobody is aligned, and the coordinator adds up."""
        if phase == "align" or (phase == "value" and not self.valued):
            return ()
        if phase == "evaluate":
            return (self.label,)
        if phase == "settle":
            return (COORDINATOR,)
        return (*self.parties, COORDINATOR) if phase in ("train", "value") else self.parties

    def needed_from(self, party: str, phase: PhaseName) -> bool:
        """Whether the party takes part in this phase or a later one."""
        return any(party in self.participants(p) for p in PHASES[PHASES.index(phase) :])


def session_name(phase: PhaseName, attempt: int) -> str:
    """What the channels of one attempt at a phase are called."""
    return f"{phase}-{attempt}"


def session_roles(agreement: Agreement, phase: PhaseName) -> dict[str, Role]:
    """Who is in a phase's session, and as what: the same at every member."""
    known = {p.name: Role.LABEL if p.role == "label" else Role.FEATURE for p in agreement.parties}
    return {name: known.get(name, Role.COORDINATOR) for name in Plan.of(agreement).participants(phase)}
