"""The coordinator as a process: gRPC in front of the engine (:mod:`parties.coordinator.methods`), a clock behind it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from parties.transport.grpc import ExchangeServer  # first: it settles how grpc's C core starts

# isort: split

from parties import __version__
from parties.audit.log import AuditLog
from parties.coordinator.approvals import Approvals
from parties.coordinator.audit_witness import Witness
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.bundles import BundleStore
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.all_doors import all_doors
from parties.coordinator.desk.context import House
from parties.coordinator.desk.gate import Gate
from parties.coordinator.desk.oidc import Issuer
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.methods import Methods
from parties.coordinator.metrics import coordinator_samples
from parties.coordinator.own_phases import OwnParts
from parties.coordinator.read_calls import Reader
from parties.coordinator.relaying import OwnDoor, relay_handler
from parties.coordinator.run_views import LedgerReader
from parties.coordinator.settings import CoordinatorSettings, load_coordinator_settings
from parties.coordinator.store import EventLog
from parties.errors import ConfigError, StorageError
from parties.ledger.store import LedgerStore
from parties.members.keys import load_identity
from parties.members.roster import Roster, expiry_warnings
from parties.names import COORDINATOR
from parties.process.database import open_engine
from parties.process.health import HealthServer
from parties.transport.switchboard import Switchboard

__all__ = ["Coordinator", "serve"]

_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0
_TROUBLE_SECONDS = 5.0


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
        self.house: House | None = None
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
        service = Methods(roster, membership, relays=relays.offer)
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
        approvals = Approvals(self.home, ledger, engine, roster, now, audit)
        approvals.restore()
        house = self.house = House(
            home=self.home,
            settings=self.settings,
            engine=engine,
            roster=roster,
            membership=membership,
            log=log,
            bundles=bundles,
            ledger=ledger,
            keeper=keeper,
            approvals=approvals,
            audit=audit,
            sessions=sessions,
            actions=actions,
            now=now,
        )
        service.begin(
            engine,
            reader,
            all_doors(house),
            Gate(roster, sessions, actions, Issuer(terms.oidc, now) if terms.oidc else None),
            approvals,
        )

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
