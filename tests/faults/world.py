"""A whole consortium in one thread: the real coordinator, ledger, audit logs and training, a virtual clock, and faults.

What is real: the engine with its state machine and event log, the settlement and its ledger, every node's audit log
and the exchange of signed heads, and training (see :mod:`tests.faults.consortium`; its product is transparent). What
is simulated: the network, the clock, and a node's way of doing what it is told (:class:`Party`), which is that of
``parties.node.node`` and ``parties.node.coordinator_line`` without threads. A seed decides everything, and makes the
same history again.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement
from parties.audit.log import AuditLog
from parties.client import ADMIN
from parties.control.commands import (
    AbortBody,
    ApproveBody,
    Command,
    FinishedBody,
    PauseBody,
    RosterBody,
    StartBody,
    WelcomeBody,
    parse_command,
)
from parties.coordinator import engine, party_lines, report_intake
from parties.coordinator.audit_witness import AuditWitness
from parties.coordinator.committed_rows import CommittedRows
from parties.coordinator.engine import Engine
from parties.coordinator.events import Proposed
from parties.coordinator.known_run import KnownRun
from parties.coordinator.own_phases import OwnPhases
from parties.coordinator.party_lines import PartyLine
from parties.coordinator.report_intake import ReportIntake
from parties.coordinator.run import RunState
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, PeerError, RunAborted, StorageError
from parties.ledger.store import LedgerStore
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.audit_heads import take_heads
from parties.process.database import open_engine
from tests.faults.consortium import LABEL, Consortium, Crash
from tests.parties.contribution_records import recorded
from tests.parties.coordinator_rig import UNTESTED, signed_report
from vfl.walk.result import TrainingResult

__all__ = ["FEATURES", "PATIENCE", "World", "identities"]

FEATURES = ("a", "b", "c")
PATIENCE = 3600.0
POT = 10_001
_T0 = datetime(2026, 1, 5, tzinfo=UTC)
_NUMBERS = itertools.count()


class Killed(BaseException):
    """The coordinator dies here: nothing of ours may catch it."""


class Clock:
    """Virtual time, in the shape of the modules ``time`` and ``datetime`` as the coordinator uses them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self, _: object = None) -> datetime:
        return _T0 + timedelta(seconds=self.seconds)


def identities(folder: Any) -> dict[str, Identity]:
    """Keys for everyone; making them takes longer than a simulated run."""
    return {name: create_identity(name, folder / name) for name in (COORDINATOR, ADMIN, LABEL, *FEATURES)}


class Parts(OwnPhases):
    """The coordinator's parts: settling is the real one, what goes over the network is a session's."""

    def __init__(self, world: World) -> None:
        # all that settling needs; no endpoint, for nothing here goes over a network
        self._ledger = world.ledger
        self._world = world

    def settle(self, known: KnownRun) -> dict[str, Any]:
        self._world.may_die("before settling")
        report = super().settle(known)
        self._world.may_die("between the postings and their event")
        return report

    def abort(self, run_id: str, reason: str) -> None:
        self._world.leave(COORDINATOR)

    def interrupt(self, run_id: str, reason: str) -> None:
        self._world.leave(COORDINATOR)


class SimulatedEngine(Engine):
    """The engine, whose own parts are played by sessions instead of threads."""

    world: World

    def _spawn(self, known: Any, phase: Any, attempt: int, work: Any) -> None:
        def finish(outcome: dict[str, Any] | Exception) -> None:
            def said(_: object) -> tuple[dict[str, Any], dict[str, Any]]:
                if isinstance(outcome, Exception):
                    raise outcome
                return outcome, {}

            if self.world.engine is self:
                self.world.guarded(lambda: self._own_part(known, phase, attempt, said))

        self.world.session(phase, attempt).join(COORDINATOR, finish)


class FaultyLog(EventLog):
    """The event log, around whose appends the coordinator may die, or whose disk may be full for a while."""

    world: World

    def append(self, entry: Any) -> Any:
        if self.world.clock.seconds < self.world.disk_full_until:
            raise StorageError("the event log cannot be written (no space left on device): free some space")
        self.world.may_die("before an event is logged")
        logged = super().append(entry)
        self.world.may_die("after an event is logged")
        return logged


Finish = Callable[[Any], None]


@dataclass
class Session:
    """One attempt at one phase, in which its participants meet."""

    world: World
    phase: str
    attempt: int
    joined: dict[str, Finish] = field(default_factory=dict)
    over: bool = False
    holding: bool = False

    @property
    def team(self) -> set[str]:
        return set(self.world.plan.participants(self.phase))  # type: ignore[arg-type]

    def join(self, name: str, finish: Finish) -> None:
        if self.over:
            self.world.later(self.world.draw.uniform(1, 4), lambda: finish(_lost(self._other(name))))
            return
        self.joined[name] = finish
        if set(self.joined) == self.team:
            self.world.later(self.world.draw.uniform(0.5, 8), self._play)

    def leave(self, name: str) -> None:
        """A participant is gone: the others notice after a while."""
        if self.over or name not in self.joined:
            return
        del self.joined[name]
        self._break(name)

    def cut_off(self, name: str) -> None:
        """A participant's links to its peers break: it notices as they do."""
        if not self.over and name in self.joined and len(self.team) > 1:
            self._break(name)

    def _break(self, blamed: str) -> None:
        self.over = True
        for finish in self.joined.values():
            self.world.later(self.world.draw.uniform(0.1, 3), lambda finish=finish: finish(_lost(blamed)))

    def _other(self, name: str) -> str:
        return str(self.world.draw.choice(sorted(self.team - {name}))) if len(self.team) > 1 else name

    def _play(self) -> None:
        if self.over:
            return
        try:
            outcomes = self.world.perform(self.phase, stop_early=self.holding)
        except Crash:
            if self.holding:
                self.over = True
                for finish in self.joined.values():
                    self.world.later(self.world.draw.uniform(0.1, 1), lambda finish=finish: finish("held"))
            else:
                self._break(self._other(""))
            return
        self.over = True
        for name, finish in self.joined.items():
            outcome = outcomes[name]
            self.world.later(self.world.draw.uniform(0, 4), lambda f=finish, o=outcome: f(o))


def _lost(peer: str) -> PeerError:
    return PeerError(f"{peer!r} cannot be reached: see whether its node is running", peer)


class Party:
    """A node: does what it is told, reports until it is heard, and remembers on disk what must survive."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.audit_url = world.database(name)
        self.signed: set[str] = set()  # on disk
        self.begun = False  # on disk too
        self.ended, self.refused = "", 0
        self.connected, self.gone = True, False
        self.boot()

    def boot(self) -> None:
        """Start, or start again after a crash: what was in memory is lost."""
        self.life = next(_NUMBERS)
        self.seen: set[tuple[Any, ...]] = set()
        self.line: PartyLine | None = None
        self.doing: tuple[str, int] | None = None
        self.known = 0
        self.audit = AuditLog(self.name, self.audit_url, self.world.keys[self.name].key.sign)
        self._attach(self.life)
        self._beat(self.life)

    @property
    def told(self) -> bool:
        """Whether it knows that the run has ended, or has nothing of it that would wait for its end."""
        return bool(self.ended) or self.gone or not (self.begun or self.seen)

    def crash(self, seconds: float) -> None:
        self.life = -1
        self.audit.close()
        self.world.leave(self.name)
        self.world.unplug(self)
        self.world.later(seconds, self.boot)

    def _alive(self, life: int) -> bool:
        return life == self.life and not self.gone

    def _attach(self, life: int) -> None:
        world = self.world
        if not self._alive(life):
            return
        if world.engine is not None and self.connected and self.line is None:
            runs, at = [world.run_id] if self.begun or self.seen else [], world.engine
            with suppress(StorageError):
                self.line = world.guarded(lambda: at.attach(self.name, str(life), "0", runs))
            if self.line is not None:
                self._listen(life, self.line)
        world.later(0.5, lambda: self._attach(life))

    def _listen(self, life: int, line: PartyLine) -> None:
        if not self._alive(life) or self.line is not line:
            return
        while not line.empty:
            command = line._queue.get_nowait()
            if command is None:
                self.line = None
                return
            self._take(command)
        self.world.later(self.world.draw.uniform(0.05, 0.3), lambda: self._listen(life, line))

    def _beat(self, life: int) -> None:
        if self._alive(life):
            if self.line is not None:
                self._call("heartbeat", {})
            self.world.later(2.0, lambda: self._beat(life))

    def _take(self, command: Command) -> None:
        body = parse_command(command.kind, command.run_id, command.encoded()).body
        if isinstance(body, WelcomeBody | RosterBody):
            return
        if command.mark in self.seen:
            return
        self.seen.add(command.mark)
        if isinstance(body, ApproveBody):
            agreement = Agreement.model_validate(body.agreement)
            self.signed.add(agreement.run_id)
            signature = sign_agreement(self.world.keys[self.name].key, agreement)
            self.audit.append("approval", command.run_id, {"signature": signature})
            self._say("signed", {"signature": signature})
        elif isinstance(body, StartBody):
            assert command.run_id in self.signed, "no phase begins unsigned"
            self.known = max(self.known, take_heads(self.audit, self.world.roster, body.heads))
            self._begin(body.phase, body.attempt)
        elif isinstance(body, PauseBody) and self.doing and body.phase == self.doing[0] == "train":
            self.world.session(*self.doing).holding = True
        elif isinstance(body, AbortBody | FinishedBody):
            self.world.leave(self.name)
            self.doing, self.ended = None, command.kind

    def _begin(self, phase: str, attempt: int) -> None:
        self.begun |= phase != "align"
        life, doing = self.life, (phase, attempt)
        if self.doing is not None and self.doing != doing:
            self.world.leave(self.name)
        self.doing = doing

        def finish(outcome: Any) -> None:
            if not self._alive(life) or self.doing != doing:
                return
            if outcome == "held":
                self.audit.append("phase", self.world.run_id, {"phase": phase, "outcome": "held"})
                self._say("held", {"phase": phase, "attempt": attempt})
            elif isinstance(outcome, PeerError):
                body = {"phase": phase, "attempt": attempt, "reason": str(outcome), "peer": outcome.peer, "lost": True}
                self._say("failed", body)
            else:
                self.audit.append("phase", self.world.run_id, {"phase": phase, "outcome": "done"})
                head = self.audit.head(since=self.known)
                self.known = head.size
                report = outcome | {"head": head.model_dump(mode="json")}
                self._say("done", {"phase": phase, "attempt": attempt, "report": report})

        self.world.session(phase, attempt).join(self.name, finish)

    def _say(self, kind: str, body: dict[str, Any]) -> None:
        """Repeat until the coordinator has it, as a line does; now and then it arrives twice."""
        life = self.life

        def attempt() -> None:
            if not self._alive(life) or self.ended:
                return
            heard = self.world.draw.random() > self.world.loss and self._call(kind, body)
            if not heard or self.world.draw.random() < self.world.loss:
                self.world.later(0.5, attempt)

        self.world.later(self.world.draw.uniform(0.01, 0.5), attempt)

    def _call(self, kind: str, body: dict[str, Any]) -> bool:
        world = self.world
        if world.engine is None or not self.connected:
            return False
        run_id = "" if kind == "heartbeat" else world.run_id
        said = ReportIntake(world.engine, mock.Mock(), world.rows, mock.Mock()).take
        try:
            return world.guarded(lambda: (said(self.name, kind, run_id, json.dumps(body).encode()), True)[1]) is True
        except AgreementError:
            self.refused += "phase" not in body  # late words about a phase are all that may ever be refused
            return True
        except (PeerError, StorageError, RunAborted):
            return False


class World:
    """One consortium, one run, one seed. ``faults=False`` leaves it in peace."""

    def __init__(self, seed: int, keys: dict[str, Identity], *, faults: bool = True) -> None:
        self.seed, self.keys, self.faults = seed, keys, faults
        self.clock = Clock()
        self.draw = np.random.default_rng([seed, 1])
        self.loss = float(self.draw.uniform(0, 0.3)) if faults else 0.0
        self.disk_full_until = 0.0
        self.deaths: list[str] = []
        self.engine: SimulatedEngine | None = None
        self.result: TrainingResult | None = None
        self.delivered: dict[str, str] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._kept: list[sqlite3.Connection] = []
        self._sessions: dict[tuple[str, int], Session] = {}
        make = np.random.default_rng([seed, 0])
        parties = FEATURES[: make.integers(2, 4)]
        self.training = Consortium(seed, parties, periods=int(make.integers(4, 7)), entities=int(make.integers(8, 14)))
        self.names = (LABEL, *parties)
        self.roster = Roster({name: key.member("127.0.0.1:1") for name, key in keys.items()})
        self.agreement = self._agreement(bool(make.integers(2)), bool(make.integers(2)))
        self.run_id = self.agreement.run_id
        self.ledger = LedgerStore(self.database("ledger"))
        self._events = self.database("events")
        self._audit = self.database("audit")

    # -- running

    def play(self) -> RunState:
        """From the proposal to the end, or fail when it does not end."""
        with self._patched():
            self._start()
            self.parties = {name: Party(self, name) for name in self.names}
            self._propose()
            if self.faults:
                self._plan_faults()
            while not (self.ended and all(party.told for party in self.parties.values())):
                at, _, act = heapq.heappop(self._due)
                assert at < PATIENCE, f"the run hangs in {self.state.status}: {self.state}"
                self.clock.seconds = at
                act()
            return self.state

    def close(self) -> None:
        self.ledger.close()
        for kept in self._kept:
            kept.close()

    @property
    def state(self) -> RunState:
        """As the event log has it, whoever is up."""
        state = None
        for logged in EventLog(open_engine(self._events)).read():
            state, _ = engine.step(state, logged.event)
        assert state is not None
        return state

    @property
    def ended(self) -> bool:
        return self.engine is not None and self.engine.known(self.run_id).state.ended

    @property
    def plan(self) -> Any:
        return engine.step(None, self._proposed())[0].plan

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.clock.seconds + float(seconds), next(self._numbers), act))

    def session(self, phase: str, attempt: int) -> Session:
        return self._sessions.setdefault((phase, attempt), Session(self, phase, attempt))

    def leave(self, name: str) -> None:
        """Whatever this participant is in goes on without it, which no session can."""
        for session in list(self._sessions.values()):
            session.leave(name)

    def unplug(self, party: Party) -> None:
        """The party's line breaks."""
        line, party.line = party.line, None
        if self.engine is not None and line is not None:
            self.engine.detach(line)

    # -- what the parties do together

    def perform(self, phase: str, *, stop_early: bool) -> dict[str, dict[str, Any]]:
        """One attempt at a phase: each participant's report. Raises Crash when it is cut."""
        team = self.plan.participants(phase)
        reports: dict[str, dict[str, Any]] = {name: {} for name in team}
        common = self.training.entities
        if phase == "align":
            reports = {name: {"n_common": common, "set_size": common + 2} for name in team}
            reports[COORDINATOR] = {"n_common": common, "set_sizes": dict.fromkeys(self.names, common + 2)}
        elif phase == "train":
            self.result = self._train(stop_early=stop_early)
        elif phase == "evaluate":
            reports[LABEL] = {"evaluation": {"ic_joint": 0.1, "n_periods": 3}}
        elif phase == "value":
            phi = {name: 0.01 * (1 + i) for i, name in enumerate(self.names[1:])}
            told = {"contribution": recorded(self.agreement.calendar.periods, phi)}
            reports[LABEL] = signed_report(told, self.keys[LABEL], self.run_id, self.agreement.calendar.periods)
        elif phase == "export":
            assert self.result is not None
            digest = hashlib.sha256(self.result.scores.tobytes()).hexdigest()
            for name in team:
                self.delivered[name] = digest
                reports[name] = {"factor_id": "f", "version": "1", "sha256": digest, "bytes": 8}
            if COORDINATOR in team:
                reports[COORDINATOR] = {"sha256": digest, "bytes": 8, "files": 1}
        return reports

    def _train(self, *, stop_early: bool) -> TrainingResult:
        """Training from the records, cut at some message or around some record when a fault is due."""
        if not (stop_early or (self.faults and self.draw.random() < 0.35)):
            return self.training.attempt()
        left = [int(self.draw.integers(0, 160))]

        def count() -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        def relay(sender: str, receiver: str, message: Any) -> Any:
            count()
            return message

        if stop_early or self.draw.random() < 0.5:
            return self.training.attempt(relay)
        store = self.training.stores[str(self.draw.choice(self.names))]
        side = "before" if self.draw.random() < 0.5 else "after"
        left[0] //= 6
        setattr(store, side, count)
        try:
            return self.training.attempt()
        finally:
            setattr(store, side, lambda: None)

    # -- the coordinator

    def guarded(self, act: Callable[[], Any]) -> Any:
        """What ``act`` gives, or None when the coordinator died in it."""
        try:
            return act()
        except Killed:
            self._fall()
            return None

    def may_die(self, where: str) -> None:
        """The place where a planned death strikes."""
        if self.deaths and self.deaths[0] == where and self.draw.random() < 0.3:
            self.deaths.pop(0)
            raise Killed

    def _start(self) -> None:
        log = FaultyLog(open_engine(self._events))
        log.world = self
        audit = AuditLog(COORDINATOR, self._audit, self.keys[COORDINATOR].key.sign)
        witness = AuditWitness(audit, self.roster)
        self.audit, self.rows = audit, CommittedRows(audit)
        SimulatedEngine.world = self
        started = SimulatedEngine(log, self.roster, Parts(self), version="0", heartbeat=2.0, witness=witness)
        self.engine = started

        def restore() -> None:
            try:
                started.restore()
            except StorageError:
                raise Killed from None  # it says why and leaves; whoever runs it starts it again

        self.guarded(restore)
        if self.engine is started:
            self._tick(started)

    def _tick(self, running: SimulatedEngine) -> None:
        if self.engine is not running:
            return

        def tick() -> None:
            try:
                running.tick()
            except StorageError:
                return  # as the service does: it looks again later

        self.guarded(tick)
        self.later(0.5, lambda: self._tick(running))

    def _fall(self, *, graceful: bool = False) -> None:
        """The coordinator goes down, and comes back after a while."""
        if self.engine is None:
            return
        if graceful:
            with suppress(Killed, StorageError):
                self.engine.stop()
        self.engine = None
        self.audit.close()
        self.leave(COORDINATOR)
        for party in self.parties.values():
            party.line = None
        self.later(self.draw.uniform(0.5, 20), lambda: None if self.engine else self._start())

    def _propose(self) -> None:
        def propose() -> None:
            if self.engine is None:
                self.later(1.0, self._propose)
                return
            try:
                self.engine.propose(self.agreement, ADMIN)
            except StorageError:
                self.later(1.0, self._propose)

        self.guarded(propose)
        if self.engine is None:
            self.later(1.0, self._propose)

    # -- faults

    def _plan_faults(self) -> None:
        for _ in range(int(self.draw.poisson(3))):
            self.later(self.draw.uniform(1, 45), self._strike)
        if self.draw.random() < 0.08:
            self.later(self.draw.uniform(8, 45), self._for_good)

    def _strike(self) -> None:
        victim = self.parties[str(self.draw.choice(self.names))]
        kind = self.draw.choice(["crash", "link", "kill", "stop", "die", "disk", "pause", "peers"])
        if kind == "crash" and victim.life >= 0:
            victim.crash(self.draw.uniform(0.5, 20))
        elif kind == "link":
            victim.connected = False
            self.unplug(victim)
            self.later(self.draw.uniform(1, 90), lambda: setattr(victim, "connected", True))
        elif kind in ("kill", "stop"):
            self._fall(graceful=kind == "stop")
        elif kind == "die":
            places = ("before settling", "between the postings and their event", "before an event is logged",
                      "after an event is logged")  # fmt: skip
            self.deaths.append(str(self.draw.choice(places)))
        elif kind == "disk":
            self.disk_full_until = self.clock.seconds + self.draw.uniform(0.5, 8)
        elif kind == "pause":
            self._order("pause")
        elif kind == "peers":
            for session in list(self._sessions.values()):
                session.cut_off(victim.name)

    def _order(self, what: str) -> None:
        """The admin pauses the run, and resumes it after a while."""

        def give() -> None:
            assert self.engine is not None
            if what == "pause":
                self.engine.pause(self.run_id, ADMIN, "to look at something")
            else:
                self.engine.resume(self.run_id, ADMIN)

        try:
            if self.engine is not None:
                self.guarded(give)
        except AgreementError:
            return  # too early, too late, or not paused any more
        except StorageError:
            pass
        if not self.ended:
            self.later(self.draw.uniform(1, 20), lambda: self._order("resume"))

    def _for_good(self) -> None:
        """A party never comes back, and after a while the admin gives up."""
        victim = self.parties[str(self.draw.choice(self.names))]
        self.leave(victim.name)
        self.unplug(victim)
        victim.gone = True

        def give_up() -> None:
            try:
                if self.engine is not None and not self.ended:
                    self.guarded(lambda: self.engine.cancel(self.run_id, ADMIN, "gone for good", admin=True))  # type: ignore[union-attr]
            except StorageError:
                pass
            if not self.ended:
                self.later(5.0, give_up)

        self.later(300.0, give_up)

    # -- making it

    def database(self, name: str) -> str:
        """A database in memory that outlives whoever has it open."""
        place = f"file:/world-{next(_NUMBERS)}-{name}?vfs=memdb"
        self._kept.append(sqlite3.connect(place, uri=True))
        return f"sqlite:///{place}&uri=true"

    def _proposed(self) -> Any:
        return Proposed(self.run_id, _T0, self.agreement.canonical().decode(), ADMIN)

    def _agreement(self, private: bool, delivered: bool) -> Agreement:
        ends = [_T0 - timedelta(days=400 - 90 * i) for i in range(3)]
        return Agreement.model_validate(
            {
                "consortium": "Test funds",
                "purpose": "simulated",
                "proposed_at": _T0,
                "expires_at": _T0 + timedelta(hours=2),
                "nonce": str(self.seed),
                "coordinator_certificate_sha256": self.keys[COORDINATOR].certificate_sha256,
                "coordinator_address": "127.0.0.1:1",
                "parties": [
                    {
                        "name": name,
                        "role": "label" if name == LABEL else "feature",
                        "address": "127.0.0.1:1",
                        "identity_key": self.keys[name].public_key,
                        "certificate_sha256": self.keys[name].certificate_sha256,
                        "columns": [f"{name}_{i}" for i in range(10)],
                    }
                    for name in self.names
                ],
                "label": {"name": "y", "definition": "next return", "party": LABEL},
                "calendar": {"frequency": "Q", "periods": ("1", "2", "3"), "period_ends": ends, "cutoffs": ends},
                "alignment": {"policy": "psi"} if private else {"policy": "universe", "universe_sha256": "00" * 32},
                "reward": {"pot": POT, "unit": "USD", "scale": 2, **UNTESTED},
                "recipients": (*self.names[1:], COORDINATOR) if delivered else self.names[1:],
                "code_version": "0",
            }
        )

    @contextmanager
    def _patched(self) -> Iterator[None]:
        clock: Any = self.clock
        with ExitStack() as stack:
            for module, changes in (
                (engine, {"time": clock, "_now": clock.now}),
                (party_lines, {"time": clock, "datetime": clock}),
                (report_intake, {"datetime": clock}),
            ):
                stack.enter_context(mock.patch.multiple(module, **changes))
            yield
