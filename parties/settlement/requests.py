"""What is carried to a party's node when its approval of a settlement is asked for, and what comes back. Pure.

Down goes the whole list of dossiers that wait for this party, each with the facts its amounts rest on: a node that was
away hears the same list when it is back. Up comes one signature or one refusal, which the coordinator records once.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from parties.fields import Sha256, Text
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier import Approval, Dossier, Intended
from parties.settlement.roll_over import BookedEntry
from vfl.terms import Terms

__all__ = ["Answer", "Asked", "Facts"]


class Facts(Terms):
    """What the coordinator's books and log say that the amounts rest on; a node cannot look these up itself.

    ``carried``: minor units that had rolled over when the pot was split; ``pot_entries``: the entries that say so.
    ``earning_entries``: a run's final settlement and corrections, which a licence is shared by.
    """

    contribution: ContributionRecord | None = None
    pending: Intended | None = None
    carried: int = Field(default=0, ge=0)
    pot_entries: tuple[BookedEntry, ...] = Field(default=(), max_length=100_000)
    earning_entries: tuple[BookedEntry, ...] = Field(default=(), max_length=1000)


class Asked(Terms):
    """One dossier that waits for a party's approval. ``by``: who asked, as the coordinator knows them."""

    dossier: Dossier
    facts: Facts = Facts()
    by: str = ""


class Answer(Terms):
    """A party's answer: an approval, or why it refuses."""

    digest: Sha256
    approval: Approval | None = None
    refused: Text = ""
    by: tuple[Annotated[str, StringConstraints(max_length=32)], ...] = Field(default=(), max_length=9)

    @model_validator(mode="after")
    def _one_of_both(self) -> Answer:
        if (self.approval is None) != bool(self.refused):
            raise ValueError("an answer approves or says why it refuses")
        return self
