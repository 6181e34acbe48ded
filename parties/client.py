"""The coordinator's typed client: the only door of the UI, the CLI and scripts.

    with Client("127.0.0.1:7000", Path("admin")) as client:
        for run in client.runs():
            print(run.status, run.purpose)

The credentials folder holds ``keys/`` (as ``parties.members.keys`` makes them) and ``roster.json``; the roster
must name the coordinator's certificate, and the coordinator's roster this client's. Every method raises a
subclass of :class:`EntenteError` whose text can be shown as it is.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from parties.agreement.document import Agreement
from parties.calls.asking import Question, Role
from parties.calls.client_calls import ClientProtocol
from parties.calls.comparing import COMPARED, CompareQuestion, ComparisonView
from parties.calls.contributions import (
    BandPoint,
    ContributionDetail,
    ContributionPage,
    ContributionsQuestion,
    PartyShare,
    RunShares,
)
from parties.calls.desk_calls import DeskCalls
from parties.calls.drafts import (
    CostView,
    DraftQuestion,
    DraftView,
    PartyCostView,
    ScreenPlanView,
    TemplateView,
    group_schema,
)
from parties.calls.factors import (
    ChartView,
    FactorCard,
    FactorCheck,
    FactorDetail,
    FactorForm,
    FactorOrder,
    FactorPage,
    FactorsQuestion,
    FaultView,
    LiveView,
    LoggedView,
    NumberView,
    SectionView,
    SeriesView,
    SignerView,
    WarnView,
)
from parties.calls.favourites import FavouriteKind, FavouriteView
from parties.calls.membership import (
    InvitationQuestion,
    InvitationView,
    InviteView,
    LimitsView,
    MemberQuestion,
    MemberView,
)
from parties.calls.money import (
    AccountView,
    BalancesView,
    EntryView,
    JournalFile,
    JournalFilter,
    JournalPage,
    JournalQuestion,
    LineView,
    StandingView,
    StatementQuestion,
)
from parties.calls.overlaps import OverlapLine, OverlapQuestion, OverlapView
from parties.calls.people import ActionsView, ActionView, SessionView, ViewerView
from parties.calls.run_parts import DailySession
from parties.calls.runs import RunGroup, RunOrder, RunPage, RunsQuestion
from parties.calls.settlement import (
    ApproverView,
    CashQuestion,
    CashStep,
    DossierView,
    EffectView,
    OutcomeView,
    PlanView,
    SettlementPage,
    SettlementQuestion,
    SettlementStep,
    SettlementView,
    StepLine,
    StepQuestion,
    WithdrawQuestion,
)
from parties.calls.state import HouseView, Preference, SettingView
from parties.calls.trust import (
    AgreementText,
    AuditEntryView,
    AuditPage,
    AuditQuestion,
    HeadExchange,
    HeadsView,
    LogCheckView,
    MemberHeads,
    MinimisationView,
    RevealedLine,
    SignerCheck,
    TermView,
)
from parties.calls.views import (
    BalanceView,
    BytesView,
    ContributionView,
    CoordinatorView,
    DailyView,
    EvaluationView,
    EventView,
    FactorView,
    FederatedView,
    FileView,
    LedgerView,
    OpeningsView,
    PartyView,
    PauseView,
    PhaseView,
    PostingView,
    ProgressView,
    RelayView,
    RunSummary,
    RunView,
    ScreenView,
    SeriesPoint,
    SignatureView,
    StaticView,
    TextSection,
)
from parties.errors import EntenteError, PeerError, SignInError
from parties.names import ADMIN, COORDINATOR, DESK
from parties.plurals import singular
from parties.transport.to_coordinator import Connection, CoordinatorAway
from parties.wire.gen import coordinator_pb2 as wire

__all__ = [
    "group_schema",
    "singular",
    "ADMIN",
    "DESK",
    "AccountView",
    "ActionView",
    "ActionsView",
    "ApproverView",
    "CashQuestion",
    "CashStep",
    "AgreementText",
    "AuditEntryView",
    "AuditPage",
    "AuditQuestion",
    "BalanceView",
    "BalancesView",
    "BandPoint",
    "BytesView",
    "COMPARED",
    "ChartView",
    "Client",
    "ClientProtocol",
    "CompareQuestion",
    "ComparisonView",
    "ContributionDetail",
    "ContributionPage",
    "ContributionView",
    "ContributionsQuestion",
    "CoordinatorAway",
    "CoordinatorView",
    "CostView",
    "DossierView",
    "DeskCalls",
    "DraftQuestion",
    "DraftView",
    "EffectView",
    "EntenteError",
    "EntryView",
    "EvaluationView",
    "DailySession",
    "DailyView",
    "EventView",
    "FactorCard",
    "FactorCheck",
    "FactorDetail",
    "FactorForm",
    "FactorOrder",
    "FactorPage",
    "FactorView",
    "FederatedView",
    "FactorsQuestion",
    "FaultView",
    "FavouriteKind",
    "FavouriteView",
    "FileView",
    "HouseView",
    "InvitationQuestion",
    "InvitationView",
    "InviteView",
    "HeadExchange",
    "HeadsView",
    "JournalFile",
    "JournalFilter",
    "JournalPage",
    "JournalQuestion",
    "LedgerView",
    "LimitsView",
    "LineView",
    "LiveView",
    "LogCheckView",
    "LoggedView",
    "MemberQuestion",
    "MemberView",
    "MemberHeads",
    "MinimisationView",
    "NumberView",
    "OpeningsView",
    "OutcomeView",
    "PartyCostView",
    "PartyShare",
    "PartyView",
    "PauseView",
    "PeerError",
    "PhaseView",
    "PlanView",
    "PostingView",
    "Preference",
    "ProgressView",
    "RelayView",
    "RevealedLine",
    "Role",
    "RunGroup",
    "RunOrder",
    "RunPage",
    "RunShares",
    "RunSummary",
    "RunView",
    "RunsQuestion",
    "ScreenPlanView",
    "ScreenView",
    "SectionView",
    "SeriesPoint",
    "SeriesView",
    "SessionView",
    "SettingView",
    "SettlementPage",
    "SettlementQuestion",
    "SettlementStep",
    "SettlementView",
    "SignInError",
    "SignatureView",
    "SignerCheck",
    "SignerView",
    "StandingView",
    "StaticView",
    "StatementQuestion",
    "StepLine",
    "StepQuestion",
    "TemplateView",
    "TermView",
    "TextSection",
    "ViewerView",
    "WarnView",
    "WithdrawQuestion",
    "OverlapLine",
    "OverlapQuestion",
    "OverlapView",
]

V = TypeVar("V")


class Client(DeskCalls):
    """A connection to the coordinator with the certificate of ``name``. Safe to share between threads.

    The admin's certificate says who acts. That of the desk, :data:`DESK`, says nothing: people sign in over it, and
    :meth:`within` their session it acts for them.
    """

    def __init__(self, address: str, credentials: Path, *, name: str = ADMIN, timeout: float = 15.0) -> None:
        self.root = self
        self._timeout = timeout
        self._line = Connection(address, credentials, name)

    def within(self, session: str) -> Client:
        """This client as the person whose session's secret this is; the connection, of ``root``, stays shared."""
        made = type(self).__new__(type(self))
        made.root, made._timeout = self.root, self._timeout
        made._line = self._line.within(session)
        return made

    def sign_in(self, token: str = "", *, id_token: str = "") -> str:
        """Exchange a one-time token, or a provider's ID token, for a session's secret. Raises :class:`SignInError`."""
        request = wire.Document(json=json.dumps({"token": token, "id_token": id_token}).encode())
        answer = self._line.call("SignIn", request, wire.Document, timeout=self._timeout)
        return str(json.loads(answer.json)["session"])

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._line.close()

    def coordinator(self) -> CoordinatorView:
        """The coordinator's own state."""
        return self._read(CoordinatorView, "coordinator")

    def parties(self) -> list[PartyView]:
        """Every member of the consortium, with its health."""
        return self._read(list[PartyView], "parties")

    def runs(self, *, limit: int = 100, offset: int = 0) -> list[RunSummary]:
        """Runs, newest first."""
        return self._read(list[RunSummary], "runs", limit=limit, offset=offset)

    def run(self, run_id: str) -> RunView:
        """Everything about one run; :class:`ConfigError` when there is no such run."""
        return self._read(RunView, "run", run_id)

    def events(self, run_id: str = "", *, after: int = 0, limit: int = 500) -> list[EventView]:
        """Entries of the event log with a sequence number above ``after``, oldest first."""
        return self._read(list[EventView], "events", run_id, limit=limit, offset=after)

    def ledger(self, run_id: str = "", *, limit: int = 100, offset: int = 0) -> LedgerView:
        """Balances and one page of the journal, newest first; of one run when it is named."""
        return self._read(LedgerView, "ledger", run_id, limit=limit, offset=offset)

    def download_factor(self, run_id: str) -> bytes:
        """The factor bundle as a zip archive."""
        return self._line.collect("FactorBundle", wire.Query(run_id=run_id), timeout=4 * self._timeout)

    def propose(self, agreement: Agreement) -> str:
        """Put an agreement before its parties; returns the run id."""
        request = wire.Document(json=json.dumps({"agreement": agreement.model_dump(mode="json")}).encode())
        answer = self._line.call("Propose", request, wire.Document, timeout=self._timeout)
        return str(json.loads(answer.json)["run_id"])

    def cancel(self, run_id: str, why: str) -> None:
        """Stop a run. One that has ended is left as it is."""
        self._order("Cancel", {"run_id": run_id, "why": why})

    def pause(self, run_id: str, why: str) -> None:
        """Hold a run at its next boundary until :meth:`resume`. One that we hold, or that has ended, is left as it is.

        Raises :class:`AgreementError` while it is being settled.
        """
        self._order("Pause", {"run_id": run_id, "why": why})

    def resume(self, run_id: str) -> None:
        """Take our pause back: it goes on once nobody holds it. The admin takes back everyone's.

        Raises :class:`AgreementError` for a party when others hold the run and it does not.
        """
        self._order("Resume", {"run_id": run_id})

    def _order(self, method: str, body: dict[str, str]) -> None:
        request = wire.Document(json=json.dumps(body).encode())
        self._line.call(method, request, wire.Receipt, timeout=self._timeout)

    def ask(self, what: str, question: Question, shape: type[V]) -> V:
        """The answer of one of the desk's doors, validated as ``shape``."""
        return self._understood(shape, what, self.fetch(what, question))

    def fetch(self, what: str, question: Question) -> bytes:
        """The answer of a door as it comes: a file, or JSON."""
        body = {"what": what, "arguments": question.model_dump(mode="json")}
        request = wire.Document(json=json.dumps(body).encode())
        return self._line.collect("Ask", request, timeout=4 * self._timeout)

    def _read(self, shape: type[V], view: str, run_id: str = "", *, limit: int = 0, offset: int = 0) -> V:
        query = wire.Query(view=view, run_id=run_id, limit=limit, offset=offset)
        return self._understood(shape, view, self._line.collect("Read", query, timeout=self._timeout))

    def _understood(self, shape: type[V], what: str, answer: bytes) -> V:
        try:
            return TypeAdapter(shape).validate_json(answer)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or what
            raise PeerError(
                f"the coordinator's answer is not understood ({where}: {first['msg']}): use one version on both sides",
                COORDINATOR,
            ) from None
