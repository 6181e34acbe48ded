"""What people order of a coordinator, or ask it, over its desk and its command line: one model each."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from parties.agreement.document import Agreement
from parties.fields import RunId, StrictTerms, Text

__all__ = ["CancelOrder", "DeskQuestion", "PauseOrder", "ProposeOrder", "ResumeOrder", "SignInOrder"]


class ProposeOrder(StrictTerms):
    agreement: Agreement


class CancelOrder(StrictTerms):
    run_id: RunId
    why: Text = ""


class DeskQuestion(StrictTerms):
    """A question to the desk; ``arguments`` are validated by the door that ``what`` names."""

    what: Text
    arguments: dict[str, Any] = Field(default_factory=dict)


class PauseOrder(StrictTerms):
    run_id: RunId
    why: Text = ""


class ResumeOrder(StrictTerms):
    run_id: RunId


class SignInOrder(StrictTerms):
    """A person's one-time token, or an identity provider's word on who it is."""

    token: Annotated[str, StringConstraints(max_length=200)] = ""
    id_token: Annotated[str, StringConstraints(max_length=16_000)] = ""
