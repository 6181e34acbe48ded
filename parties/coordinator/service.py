"""The coordinator as a process: gRPC in front of the engine (:mod:`parties.coordinator.methods`), a clock behind it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from parties.transport.grpc import ExchangeServer  # first: it settles how grpc's C core starts

# isort: split

from parties import __version__
from parties.audit.log import AuditLog
from parties.coordinator.approvals import Approvals
from parties.coordinator.audit_witness import AuditWitness
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.bundles import BundleStore
from parties.coordinator.committed_rows import CommittedRows
from parties.coordinator.daily_schedule import DailySchedule
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.all_doors import all_doors
from parties.coordinator.desk.context import DeskContext
from parties.coordinator.desk.gate import Gate
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.methods import Methods, Served
from parties.coordinator.metrics import coordinator_samples
from parties.coordinator.notice_watch import CoordinatorWatch
from parties.coordinator.overlaps import Overlaps
from parties.coordinator.own_phases import OwnPhases
from parties.coordinator.read_calls import Reader
from parties.coordinator.relaying import OwnDoor, relay_handler
from parties.coordinator.report_intake import ReportIntake
from parties.coordinator.run_views import LedgerReader
from parties.coordinator.settings import CoordinatorSettings, load_coordinator_settings
from parties.coordinator.store import EventLog
from parties.errors import ConfigError, StorageError
from parties.ledger.store import LedgerStore
from parties.members.keys import Identity, load_identity
from parties.members.roster import Roster, expiry_warnings
from parties.names import COORDINATOR
from parties.notices.notifier import Notifier, ways
from parties.process.database import open_engine
from parties.process.health import HealthServer
from parties.process.supervision import start_loop
from parties.transport.switchboard import Switchboard

__all__ = ["Coordinator", "serve"]

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0
_TROUBLE_SECONDS = 5.0
_DAILY_SECONDS = 60.0


class Coordinator:
    """A coordinator from its home folder: ``coordinator.toml``, ``keys/``, ``roster.json``, databases, ``factors/``.

    Making it rebuilds the runs from the log and begins to serve; leaving the ``with`` block, or :meth:`stop`, ends it.
    Raises :class:`EntenteError` when it cannot serve; nothing stays open then.
    """

    def __init__(self, home: Path, settings: CoordinatorSettings | None = None) -> None:
        self.settings = settings or load_coordinator_settings(home)
        self.started_at = datetime.now(UTC)
        self._home = home
        self._stopping = threading.Event()
        self._gone: frozenset[str] = frozenset()
        self._trouble = ""
        self._served: Future[Served] = Future()
        with contextlib.ExitStack() as opened:
            identity = load_identity(COORDINATOR, home / "keys")
            roster = Roster.load(home / "roster.json")
            if roster.member(COORDINATOR).certificate_sha256 != identity.certificate_sha256:
                raise ConfigError(f"{home / 'roster.json'}: names another certificate for the coordinator than its own")
            for warning in expiry_warnings(roster, self.started_at):
                _LOG.warning("%s", warning)
            self._membership = Membership(home, roster)
            self._board = Switchboard(self._may_call, per_second=self.settings.relay.bytes_per_second)
            self.desk = self._opened(identity, roster, opened)
            self._opened_stores = opened.pop_all()
        self._clock = start_loop(
            self._tick, "clock", self._stopping, every=_TICK_SECONDS, trouble=_TROUBLE_SECONDS, failed=self._failed
        )
        schedule = DailySchedule(self.desk.engine, self.desk.roster, _now)
        start_loop(schedule.look, "daily schedule", self._stopping, every=_DAILY_SECONDS)
        told = ways(self.settings.notices, home, self.settings.name)
        if told:
            Notifier(CoordinatorWatch(self.desk).notices, told, home).start(self._stopping)
        _LOG.info("coordinator listens on %s", self.address)

    def _opened(self, identity: Identity, roster: Roster, opened: contextlib.ExitStack) -> DeskContext:
        """Open the stores and the door, rebuild the runs, and answer calls from then on."""
        home, settings, now = self._home, self.settings, _now
        database = settings.database_at(home)
        log = EventLog(open_engine(database))
        opened.callback(log.close)
        ledger = LedgerStore(settings.ledger or home / "ledger.db")
        opened.callback(ledger.close)
        audit = AuditLog.at(COORDINATOR, settings.database, home / "coordinator.db", identity.key.sign)
        opened.callback(audit.close)
        idle, longest = timedelta(minutes=settings.desk.idle_minutes), timedelta(hours=settings.desk.longest_hours)
        sessions = Sessions(database, now, idle=idle, longest=longest)
        opened.callback(sessions.close)
        actions = Actions(database, audit, now)
        opened.callback(actions.close)
        keeper = Bookkeeper(ledger)
        opened.callback(keeper.close)
        self._server = self._door(identity, roster)
        opened.callback(self._server.close)
        bundles = BundleStore(home / "factors")
        parts = OwnPhases(identity, self._server, bundles, ledger)
        beat = settings.heartbeat_seconds
        engine = Engine(log, roster, parts, version=__version__, heartbeat=beat, witness=AuditWitness(audit, roster))
        engine.restore()
        rows = CommittedRows(audit)
        approvals = Approvals(home, ledger, engine, roster, now, audit, rows)
        approvals.restore()
        overlaps = Overlaps(home, engine, roster, now)
        desk = DeskContext(
            home=home,
            identity=identity,
            settings=settings,
            engine=engine,
            roster=roster,
            membership=self._membership,
            log=log,
            bundles=bundles,
            ledger=ledger,
            keeper=keeper,
            approvals=approvals,
            overlaps=overlaps,
            audit=audit,
            sessions=sessions,
            actions=actions,
            now=now,
        )
        issuer = None
        if settings.desk.oidc:
            from parties.coordinator.desk.oidc import Issuer

            issuer = Issuer(settings.desk.oidc, now)
        served = Served(
            engine=engine,
            reader=Reader(settings, self.started_at, engine, roster, log, bundles, LedgerReader(ledger, keeper)),
            doors=all_doors(desk),
            gate=Gate(roster, sessions, actions, issuer),
            approvals=approvals,
            overlaps=overlaps,
            intake=ReportIntake(engine, approvals, rows, overlaps),
        )
        self._served.set_result(served)
        return desk

    def _door(self, identity: Identity, roster: Roster) -> ExchangeServer:
        """The server; it tells callers that we are starting until there is something to serve."""
        relays = self.settings.relay.offer
        methods = Methods(roster, self._membership, self._served, relays=relays)
        return ExchangeServer(
            identity,
            roster,
            self.settings.listen,
            settings=self.settings.transport,
            services=[methods.handler(), *([relay_handler(self._board, roster)] if relays else [])],
            invited=self._membership.roots,
            door=OwnDoor(self._board) if relays else None,
        )

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """host:port it listens on."""
        return self._server.address

    def stop(self) -> None:
        """End what is under way, tell the parties, and leave. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        try:
            self.desk.engine.stop()
            self.desk.engine.drained(_FAREWELL_SECONDS)
        except StorageError as error:
            _LOG.error("%s", error)
        self._opened_stores.close()

    def _tick(self) -> None:
        """Look at the clock. A full disk is waited for; what nobody expected is logged, told at /health, survived."""
        engine = self.desk.engine
        try:
            engine.tick()
            self._look_at_roster()
            self._board.sweep()
            engine.relayed(self._board.passed())
            self._trouble = ""
        except StorageError as error:
            _LOG.error("%s", error)
            self._trouble = str(error)
            self._stopping.wait(_TROUBLE_SECONDS)

    def _failed(self, error: Exception) -> None:
        self._trouble = f"its clock met what it did not expect ({type(error).__name__}): see the coordinator's log"

    @property
    def trouble(self) -> str:
        """Why this coordinator does not do its work, or ""."""
        if self._stopping.is_set() or not self._clock.is_alive():
            return "the coordinator is stopping"
        return self._trouble

    def health(self) -> contextlib.AbstractContextManager[object]:
        """The health and metrics endpoint, where the settings want one."""
        if not self.settings.metrics:
            return contextlib.nullcontext()
        engine, board, members = self.desk.engine, self._board, self._membership.public
        return HealthServer(
            self.settings.metrics,
            lambda: self.trouble,
            lambda: coordinator_samples(self._home, engine, members(), board.totals()),
        )

    def _may_call(self, caller: str, to: str) -> str:
        """Why one member may not be connected with another now, or ""."""
        if not self._served.done():
            return "the coordinator is starting"
        return "" if self._served.result().engine.share_a_run(caller, to) else "no run under way has both of them"

    def _look_at_roster(self) -> None:
        """Take in what the command line did to the roster beside us."""
        gone = self._membership.refresh()
        if gone is not None or self._gone:
            self._gone |= gone or frozenset()  # until their runs have ended, which a full disk may put off
            self.desk.engine.members_changed(self._gone)
            self._gone = frozenset()


def _now() -> datetime:
    return datetime.now(UTC)


def serve(home: Path, *, until: threading.Event, ready: Callable[[str], None] | None = None) -> None:
    """Run a coordinator until ``until`` is set; ``ready`` hears the address it listens on."""
    with Coordinator(home) as coordinator, coordinator.health():
        if ready is not None:
            ready(coordinator.address)
        until.wait()
