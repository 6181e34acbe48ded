"""Trust: the audit log and its verification, signed heads, what a run revealed, and what was agreed and signed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import OpeningsView, TextSection, View

__all__ = [
    "AgreementText",
    "AuditEntryView",
    "AuditPage",
    "AuditQuestion",
    "EntryQuestion",
    "HeadExchange",
    "HeadsView",
    "LogCheckView",
    "MemberHeads",
    "MinimisationView",
    "RevealedLine",
    "RunQuestion",
    "SignerCheck",
    "TermView",
    "TrustCalls",
]

_Text = Annotated[str, StringConstraints(max_length=200)]


class AuditQuestion(Question):
    """A page of the coordinator's audit log, newest first. ``text``: words that must all stand in an entry."""

    text: _Text = ""
    kind: _Text = ""
    run_id: _Text = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    offset: Annotated[int, Field(ge=0)] = 0


class EntryQuestion(Question):
    """One entry of the log."""

    index: Annotated[int, Field(ge=0)]


class RunQuestion(Question):
    """One run."""

    run_id: str


class AuditEntryView(View):
    """An entry; ``text`` are the canonical bytes whose hash is the leaf ``leaf``."""

    index: int
    at: str
    kind: str
    run_id: str
    body: dict[str, Any]
    text: str
    leaf: str


class AuditPage(View):
    """Entries of one page. ``kinds`` are what can be asked for."""

    total: int
    offset: int = 0
    entries: tuple[AuditEntryView, ...] = ()
    kinds: tuple[str, ...] = ()


class LogCheckView(View):
    """What verifying the whole log found. ``others``: heads seen by log, none contradicting another where sound."""

    sound: bool
    faults: tuple[str, ...] = ()
    size: int = 0
    root: str = ""
    own_heads: int = 0
    others: dict[str, int] = Field(default_factory=dict)
    unlinked: int = 0
    checked_at: datetime


class MemberHeads(View):
    """The heads of one member's log that the coordinator holds. ``fits``: the member's key signed the latest.

    ``run_id``, ``phase`` and ``received_at`` say when the latest was handed over.
    """

    name: str
    heads: int = 0
    size: int = 0
    root: str = ""
    signed_at: str = ""
    fits: bool = False
    run_id: str = ""
    phase: str = ""
    received_at: datetime | None = None


class HeadExchange(View):
    """A head that a party handed over with its report on a phase; every other party of the run is shown it next."""

    run_id: str
    phase: str
    party: str
    size: int
    root: str
    signed_at: str
    received_at: datetime | None = None
    fits: bool = False


class HeadsView(View):
    """Latest heads by member, and exchanges of the newest runs, newest first."""

    members: tuple[MemberHeads, ...] = ()
    exchanges: tuple[HeadExchange, ...] = ()


class RevealedLine(View):
    """One message type on one link. ``receiver`` is "" where the sender did not say whom its bytes went to."""

    sender: str
    receiver: str
    message: str
    payload: str
    bytes: int
    reveals: str = ""
    source: str = ""


class MinimisationView(View):
    """What left whom in a run, as each sender's node counted it, and the openings of the most opened rows.

    ``opens``: what the label party learns, as the agreement says it. ``score_bits``: of a sealed network's scores,
    which alone open of its rows; 0 where sums open. ``anchor`` is that network's.
    """

    run_id: str
    lines: tuple[RevealedLine, ...] = ()
    openings: tuple[OpeningsView, ...] = ()
    n_common: int | None = None
    factor_to: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()
    score_bits: int = 0
    anchor: str = ""


class TermView(View):
    section: str
    name: str
    value: str
    meaning: str = ""


class SignerCheck(View):
    """One party's signature over the agreement. ``fault``: "" where it fits the key that the agreement names.

    ``links``: what answered at its peers' addresses before it signed, *agreed*, *other* or *silent*; empty where it did
    not say.
    """

    party: str
    legal_entity: str = ""
    role: str = ""
    key: str = ""
    signature: str = ""
    signed_at: datetime | None = None
    fault: str = ""
    links: Mapping[str, str] = Field(default_factory=dict)
    links_at: datetime | None = None


class AgreementText(View):
    """An agreement in words. ``faithful``: the document's SHA-256 is the run id."""

    run_id: str
    faithful: bool
    text: tuple[TextSection, ...] = ()
    cautions: tuple[str, ...] = ()
    terms: tuple[TermView, ...] = ()
    signers: tuple[SignerCheck, ...] = ()


class TrustCalls(Asking, Protocol):
    """Calls about trust."""

    def audit_page(self, question: AuditQuestion) -> AuditPage:
        """A page of the coordinator's audit log."""
        return self.ask("trust/log", question, AuditPage)

    def check_audit(self) -> LogCheckView:
        """Read the whole log anew and check every entry and every head, as ``entente audit verify`` does."""
        return self.ask("trust/check", Nothing(), LogCheckView)

    def audit_proof(self, index: int) -> bytes:
        """A proof that an entry is in the log, as JSON: the entry, its path, and a signed head."""
        return self.fetch("trust/proof", EntryQuestion(index=index))

    def audit_heads(self) -> HeadsView:
        """Signed heads of every member's log, and when they were handed over."""
        return self.ask("trust/heads", Nothing(), HeadsView)

    def minimisation(self, run_id: str) -> MinimisationView:
        """What left whom in a run, and what it revealed."""
        return self.ask("trust/minimisation", RunQuestion(run_id=run_id), MinimisationView)

    def agreement(self, run_id: str) -> AgreementText:
        """An agreement in words, with its signatures checked."""
        return self.ask("trust/agreement", RunQuestion(run_id=run_id), AgreementText)

    def agreement_file(self, run_id: str) -> bytes:
        """The canonical document whose SHA-256 is the run id."""
        return self.fetch("trust/agreement-file", RunQuestion(run_id=run_id))

    def evidence(self, run_id: str) -> bytes:
        """The coordinator's evidence pack of a run, signed, for an admin or an auditor."""
        return self.fetch("trust/evidence", RunQuestion(run_id=run_id))
