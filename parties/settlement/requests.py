"""What is carried to a party's node when its approval of a settlement is asked for, and what comes back. Pure.

Down goes the whole list of dossiers that wait for this party, each with the facts its amounts rest on: a node that was
away hears the same list when it is back. Up comes one signature or one refusal, which the coordinator records once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError, model_validator

from parties.control.commands import Command
from parties.control.phases import Text
from parties.control.reports import ContributionRecord
from parties.errors import PeerError
from parties.settlement.dossier import Approval, Dossier, Intended
from vfl.terms import Terms

__all__ = ["Answer", "Asked", "Facts", "asked_from", "settle_command"]

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Facts(Terms):
    """What the coordinator's books and log say that the amounts rest on; a node cannot look these up itself.

    ``carried``: minor units that had rolled over when the pot was split.
    """

    contribution: ContributionRecord | None = None
    pending: Intended | None = None
    carried: int = Field(default=0, ge=0)


class Asked(Terms):
    """One dossier that waits for a party's approval. ``by``: who asked, as the coordinator knows them."""

    dossier: Dossier
    facts: Facts = Facts()
    by: str = ""


class _Told(Terms):
    requests: tuple[Asked, ...] = Field(default=(), max_length=1000)


class Answer(Terms):
    """A party's answer: an approval, or why it refuses."""

    digest: Digest
    approval: Approval | None = None
    refused: Text = ""
    by: tuple[Annotated[str, StringConstraints(max_length=32)], ...] = Field(default=(), max_length=9)

    @model_validator(mode="after")
    def _one_of_both(self) -> Answer:
        if (self.approval is None) != bool(self.refused):
            raise ValueError("an answer approves or says why it refuses")
        return self


def settle_command(requests: tuple[Asked, ...]) -> Command:
    """Everything that waits for a party's approval now; nothing else does any more."""
    return Command("settle", body={"requests": [request.model_dump(mode="json") for request in requests]})


def asked_from(body: Mapping[str, Any]) -> tuple[Asked, ...]:
    """What the coordinator told. Raises :class:`PeerError` for what is not understood."""
    try:
        return _Told.model_validate(dict(body)).requests
    except ValidationError as error:
        raise PeerError(
            f"the settlements to approve are not understood ({error.errors()[0]['msg']}): use one version on both sides"
        ) from None
