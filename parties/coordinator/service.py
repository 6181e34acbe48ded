"""The coordinator as a process: gRPC in front of the engine, a clock behind it.

Who is who comes from the certificate alone. A party may attach, report for itself, and cancel, pause and resume a run
of its own; the member called ``admin`` may do these, propose and read. Over the certificate of the member called
``desk`` come signed-in people, each with a session whose role says what they may. Everything else is refused.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

from parties.transport.grpc import (  # first: it settles how grpc's C core starts
    ExchangeServer,
    authenticated_peer,
    shown_certificate,
)

# isort: split
import grpc
from google.protobuf.message import Message as Protobuf

from parties import __version__
from parties.agreement import ADMIN, COORDINATOR, NO_PARTIES, Agreement
from parties.audit.log import AuditLog
from parties.calls.asking import Role
from parties.connection import ERROR_KEY, SERVICE, SESSION_KEY
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.bundles import BundleStore
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.doors import ADMINS, AUDITORS, EVERYONE, Caller, Doors, admit, pass_through
from parties.coordinator.desk.gate import Gate
from parties.coordinator.desk.house import House, all_doors
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.documents import LedgerReader
from parties.coordinator.engine import Engine
from parties.coordinator.gauges import coordinator_samples
from parties.coordinator.hearing import Hearing
from parties.coordinator.membership import Membership, expiry_warnings
from parties.coordinator.parts import OwnParts
from parties.coordinator.reading import Reader
from parties.coordinator.relaying import OwnDoor, relay_handler
from parties.coordinator.reports import AskBody, CancelBody, PauseBody, ProposeBody, ResumeBody, SignInBody, parse
from parties.coordinator.settings import CoordinatorSettings, load_coordinator_settings
from parties.coordinator.store import EventLog, open_engine
from parties.coordinator.witness import Witness
from parties.errors import AgreementError, ConfigError, EntenteError, StorageError
from parties.health import HealthServer
from parties.identity import Member, Roster, load_identity
from parties.joining.requests import JoinRequest
from parties.ledger.store import LedgerStore
from parties.transport.switchboard import Switchboard
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["Coordinator", "serve"]

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0
_TROUBLE_SECONDS = 5.0
_CHUNK = 1 << 18  # below the largest frame of the transport whose server this shares
_NOT_READERS: frozenset[Role] = EVERYONE - {"reader"}
_ORDERERS: frozenset[Role] = frozenset(("admin", "operator"))
_LEDGER = "ledger"

A = TypeVar("A", bound=Protobuf)
B = TypeVar("B", CancelBody, PauseBody, ResumeBody)


class Coordinator:
    """A coordinator from its home folder: ``coordinator.toml``, ``keys/``, ``roster.json``, databases, ``factors/``."""

    def __init__(self, home: Path, settings: CoordinatorSettings | None = None) -> None:
        self.home = home
        self.settings = settings or load_coordinator_settings(home)
        self.started_at = datetime.now(UTC)
        self._server: ExchangeServer | None = None
        self._engine: Engine | None = None
        self._ledger: LedgerStore | None = None
        self._log: EventLog | None = None
        self._keeper: Bookkeeper | None = None
        self._audit: AuditLog | None = None
        self._sessions: Sessions | None = None
        self._actions: Actions | None = None
        self._membership: Membership | None = None
        self._board: Switchboard | None = None
        self._gone: frozenset[str] = frozenset()
        self._stopping = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="clock", daemon=True)

    def __enter__(self) -> Coordinator:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """host:port it listens on."""
        assert self._server is not None, "start() first"
        return self._server.address

    def start(self) -> None:
        """Rebuild the runs from the log and begin to serve. Raises :class:`EntenteError` when it cannot."""
        try:
            self._open()
        except BaseException:
            self.stop()
            raise
        self._clock.start()
        _LOG.info("coordinator listens on %s", self.address)

    def _open(self) -> None:
        identity = load_identity(COORDINATOR, self.home / "keys")
        roster = Roster.load(self.home / "roster.json")
        if roster.member(COORDINATOR).certificate_sha256 != identity.certificate_sha256:
            raise ConfigError(
                f"{self.home / 'roster.json'}: names another certificate for the coordinator than its own"
            )
        database, now = self.settings.database_at(self.home), lambda: datetime.now(UTC)
        log = self._log = EventLog(open_engine(database))
        ledger = self._ledger = LedgerStore(self.settings.ledger or self.home / "ledger.db")
        bundles = BundleStore(self.home / "factors")
        membership = self._membership = Membership(self.home, roster)
        relays = self.settings.relay
        service = _Service(roster, membership, relays=relays.offer)
        board = self._board = Switchboard(self._may_call, per_second=relays.bytes_per_second)
        self._server = ExchangeServer(
            identity,
            roster,
            self.settings.listen,
            settings=self.settings.transport,
            services=[service.handler(), *([relay_handler(board, roster)] if relays.offer else [])],
            invited=membership.roots,
            door=OwnDoor(board) if relays.offer else None,
        )
        for warning in expiry_warnings(roster, self.started_at):
            _LOG.warning("%s", warning)
        parts = OwnParts(identity, self._server, bundles, ledger)
        audit = self._audit = AuditLog.at(
            COORDINATOR, self.settings.database, self.home / "coordinator.db", identity.key.sign
        )
        terms = self.settings.desk
        sessions = self._sessions = Sessions(
            database, now, idle=timedelta(minutes=terms.idle_minutes), longest=timedelta(hours=terms.longest_hours)
        )
        actions = self._actions = Actions(database, audit, now)
        engine = Engine(
            log,
            roster,
            parts,
            version=__version__,
            heartbeat=self.settings.heartbeat_seconds,
            witness=Witness(audit, roster),
        )
        engine.restore()
        self._engine = engine
        keeper = self._keeper = Bookkeeper(ledger)
        reader = Reader(self.settings, self.started_at, engine, roster, log, bundles, LedgerReader(ledger, keeper))
        house = House(
            home=self.home,
            settings=self.settings,
            engine=engine,
            roster=roster,
            membership=membership,
            log=log,
            bundles=bundles,
            ledger=ledger,
            keeper=keeper,
            audit=audit,
            sessions=sessions,
            actions=actions,
            now=now,
        )
        service.begin(engine, reader, all_doors(house), Gate(roster, sessions, actions))

    def stop(self) -> None:
        """End what is under way, tell the parties, and leave. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._engine is not None:
            try:
                self._engine.stop()
                self._engine.lines.drained(_FAREWELL_SECONDS)
            except StorageError as error:
                _LOG.error("%s", error)
        if self._server is not None:
            self._server.close()
        if self._keeper is not None:
            self._keeper.close()
        for store in (self._ledger, self._log, self._sessions, self._actions, self._audit):
            if store is not None:
                store.close()

    def _tick(self) -> None:
        assert self._engine is not None
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self._engine.tick()
                self._look_at_roster()
                if self._board is not None:
                    self._board.sweep()
                    self._engine.relayed(self._board.passed())
            except StorageError as error:
                _LOG.error("%s", error)
                self._stopping.wait(_TROUBLE_SECONDS)

    def health(self) -> contextlib.AbstractContextManager[object]:
        """The health and metrics endpoint, where the settings want one."""
        engine, membership, board = self._engine, self._membership, self._board
        if not self.settings.metrics or engine is None or membership is None:
            return contextlib.nullcontext()
        return HealthServer(
            self.settings.metrics,
            lambda: "" if self._clock.is_alive() and not self._stopping.is_set() else "the coordinator is stopping",
            lambda: coordinator_samples(self.home, engine, membership.public(), board.totals() if board else {}),
        )

    def _may_call(self, caller: str, to: str) -> str:
        """Why one member may not be connected with another now, or ""."""
        if self._engine is None:
            return "the coordinator is starting"
        return "" if self._engine.share_a_run(caller, to) else "no run under way has both of them"

    def _look_at_roster(self) -> None:
        """Take in what the command line did to the roster beside us."""
        assert self._engine is not None
        assert self._membership is not None
        gone = self._membership.refresh()
        if gone is not None or self._gone:
            self._gone |= gone or frozenset()  # until their runs have ended, which a full disk may put off
            self._engine.members_changed(self._gone)
            self._gone = frozenset()


def serve(home: Path, *, until: threading.Event, ready: Callable[[str], None] | None = None) -> None:
    """Run a coordinator until ``until`` is set; ``ready`` hears the address it listens on."""
    with Coordinator(home) as coordinator, coordinator.health():
        if ready is not None:
            ready(coordinator.address)
        until.wait()


class _Service:
    """The gRPC methods. Until :meth:`begin` every call is told that the coordinator is starting."""

    def __init__(self, roster: Roster, membership: Membership, *, relays: bool) -> None:
        self._relays = relays
        self._roster = roster
        self._membership = membership
        self._engine: Engine | None = None
        self._reader: Reader | None = None
        self._gate: Gate | None = None
        self._doors: Doors = {}

    def begin(self, engine: Engine, reader: Reader, doors: Doors, gate: Gate) -> None:
        self._reader = reader
        self._doors = doors
        self._gate = gate
        self._engine = engine

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """The methods under their names."""
        one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, tuple[Any, Any, type[Protobuf]]] = {
            "Attach": (many, self._attach, wire.AttachRequest),
            "Report": (one, self._report, wire.PartyReport),
            "Propose": (one, self._propose, wire.Document),
            "Cancel": (one, self._cancel, wire.Document),
            "Pause": (one, self._pause, wire.Document),
            "Resume": (one, self._resume, wire.Document),
            "Read": (many, self._read, wire.Query),
            "FactorBundle": (many, self._bundle, wire.Query),
            "Ask": (many, self._ask, wire.Document),
            "SignIn": (one, self._sign_in, wire.Document),
            "Hello": (one, self._hello, wire.Document),
            "Join": (one, self._join, wire.Document),
            "Renew": (one, self._renew, wire.Document),
        }
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: kind(
                    method,
                    request_deserializer=shape.FromString,
                    response_serializer=lambda answer: answer.SerializeToString(),
                )
                for name, (kind, method, shape) in methods.items()
            },
        )

    def _attach(self, request: wire.AttachRequest, context: grpc.ServicerContext) -> Iterator[wire.Command]:
        party, engine = self._party(context), self._ready(context)
        line = self._answered(
            context, lambda: engine.attach(party, request.session[:64], request.version[:64], request.runs)
        )

        def leave() -> None:
            engine.detach(line)
            line.close()

        if not context.add_callback(leave):
            leave()
        for command in line:
            body = json.dumps(command.body).encode()
            yield wire.Command(kind=command.kind, run_id=command.run_id, body=body)

    def _report(self, request: wire.PartyReport, context: grpc.ServicerContext) -> wire.Receipt:
        party, engine = self._party(context), self._ready(context)
        changed = self._answered(
            context, lambda: Hearing(engine).said(party, request.kind, request.run_id, request.body)
        )
        return wire.Receipt(changed=changed)

    def _propose(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        engine, gate = self._ready(context), self._gated(context)
        caller = self._caller(context)

        def take() -> str:
            agreement: Agreement = parse(ProposeBody, request.json, "the proposal").agreement
            with gate.actions.during(caller, "propose", agreement.run_id):
                admit(caller, ADMINS)
                return engine.propose(agreement, caller.signature)

        return wire.Document(json=json.dumps({"run_id": self._answered(context, take)}).encode())

    def _sign_in(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        member, gate = authenticated_peer(context, self._roster), self._gated(context)

        def take() -> str:
            said = parse(SignInBody, request.json, "the sign-in")
            return gate.sign_in(member, shown_certificate(context), said.token)

        return wire.Document(json=json.dumps({"session": self._answered(context, take)}).encode())

    def _hello(self, _: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of any member: which version answers here, what the time is, and whether parties may meet here."""
        authenticated_peer(context, self._roster)
        told = {"version": __version__, "now": datetime.now(UTC).isoformat(), "relays": self._relays}
        return wire.Document(json=json.dumps(told).encode())

    def _join(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Document:
        """Of an invited party only: its handshake showed the certificate that comes from its token."""
        engine, shown = self._ready(context), shown_certificate(context)

        def take() -> bytes:
            answer = self._membership.admit(shown, parse(JoinRequest, request.json, "the request to join"))
            engine.members_changed(())
            return answer.model_dump_json().encode()

        return wire.Document(json=self._answered(context, take))

    def _renew(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        caller, engine = authenticated_peer(context, self._roster), self._ready(context)

        def take() -> bool:
            engine.check_free(caller)
            self._membership.renew(caller, parse(Member, request.json, "the new certificate"))
            engine.members_changed((caller,))
            return True

        return wire.Receipt(changed=self._answered(context, take))

    def _cancel(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)

        def cancel(body: CancelBody, member: str, caller: Caller | None) -> bool:
            if caller is None:
                return engine.cancel(body.run_id, member, body.why, admin=False)
            return engine.cancel(body.run_id, caller.signature, body.why, admin=True)

        return self._ordered(request, context, "cancel", CancelBody, cancel)

    def _pause(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)

        def pause(body: PauseBody, member: str, caller: Caller | None) -> bool:
            why = f"{caller.signature}: {body.why}" if caller is not None and caller.session else body.why
            return engine.pause(body.run_id, member, why)

        return self._ordered(request, context, "pause", PauseBody, pause)

    def _resume(self, request: wire.Document, context: grpc.ServicerContext) -> wire.Receipt:
        engine = self._ready(context)
        return self._ordered(request, context, "resume", ResumeBody, lambda body, by, _: engine.resume(body.run_id, by))

    def _ordered(
        self,
        request: wire.Document,
        context: grpc.ServicerContext,
        what: str,
        shape: type[B],
        work: Callable[[B, str, Caller | None], bool],
    ) -> wire.Receipt:
        """An order about a run: of a party by its own certificate (no caller), or of somebody at the desk.

        Who works for a party acts as that party, the others as the admin; what they ordered is recorded.
        """
        engine, gate = self._ready(context), self._gated(context)
        member = authenticated_peer(context, self._roster)
        caller = self._caller(context) if member in NO_PARTIES else None

        def take() -> bool:
            body = parse(shape, request.json, f"the order to {what}")
            if caller is None:
                return work(body, member, None)
            with gate.actions.during(caller, what, body.run_id):
                admit(caller, _ORDERERS)
                if caller.party and caller.party not in engine.known(body.run_id).state.plan.parties:
                    raise AgreementError(f"{caller.party} has no part in run {body.run_id[:12]} and cannot {what} it")
                return work(body, caller.party or ADMIN, caller)

        return wire.Receipt(changed=self._answered(context, take))

    def _read(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._reading(context), self._caller(context)

        def found() -> bytes:
            if request.view == _LEDGER:
                admit(caller, AUDITORS)
            return reader.document(request)

        return _chunks(self._answered(context, found))

    def _bundle(self, request: wire.Query, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        reader, caller = self._reading(context), self._caller(context)

        def found() -> bytes:
            admit(caller, _NOT_READERS)
            return reader.archive(request.run_id)

        return _chunks(self._answered(context, found))

    def _ask(self, request: wire.Document, context: grpc.ServicerContext) -> Iterator[wire.Chunk]:
        gate, caller = self._gated(context), self._caller(context)

        def pass_door() -> bytes:
            asked = parse(AskBody, request.json, "the question")
            return pass_through(self._doors, asked.what, asked.arguments, caller, gate.actions.during)

        return _chunks(self._answered(context, pass_door))

    def _party(self, context: grpc.ServicerContext) -> str:
        name = authenticated_peer(context, self._roster)
        if name in NO_PARTIES:
            _refuse(context, AgreementError(f"{name} is no party: use a party's own certificate to attach or report"))
        return name

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        """Who acts: by the admin's own certificate, or within a session over the desk's."""
        member, gate = authenticated_peer(context, self._roster), self._gated(context)
        secret = next((str(value) for key, value in context.invocation_metadata() or () if key == SESSION_KEY), "")
        return cast(Caller, self._answered(context, lambda: gate.caller(member, shown_certificate(context), secret)))

    def _gated(self, context: grpc.ServicerContext) -> Gate:
        self._ready(context)
        assert self._gate is not None
        return self._gate

    def _reading(self, context: grpc.ServicerContext) -> Reader:
        self._ready(context)
        assert self._reader is not None
        return self._reader

    def _ready(self, context: grpc.ServicerContext) -> Engine:
        if self._engine is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator is starting")
            raise AssertionError("abort does not return")
        return self._engine

    def _answered(self, context: grpc.ServicerContext, work: Callable[[], Any]) -> Any:
        """The work's result; an error of ours reaches the caller with its class and its sentence, no other does."""
        try:
            return work()
        except EntenteError as error:
            _refuse(context, error)
        except Exception:
            _LOG.exception("a call failed")
            context.abort(grpc.StatusCode.INTERNAL, "a fault in the coordinator's program; its log has the details")
            raise


def _refuse(context: grpc.ServicerContext, error: EntenteError) -> NoReturn:
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__module__ == EntenteError.__module__)
    _LOG.info("refused: %s", error)
    context.set_trailing_metadata(((ERROR_KEY, kind),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error)[:2000])
    raise AssertionError("abort does not return")


def _chunks(data: bytes) -> Iterator[wire.Chunk]:
    return (wire.Chunk(data=data[start : start + _CHUNK]) for start in range(0, max(len(data), 1), _CHUNK))
