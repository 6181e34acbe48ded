"""A party's standing line to the coordinator: commands come down, reports go up.

    line = CoordinatorLine("sat", Path("sat-home"))
    line.start()
    for command in line.commands():     # until close()
        ...

The line attaches again by itself after a loss, says that the node is there, drops commands that it has handed out
before, and repeats a report until the coordinator has it (repeated reports are harmless). A command that is not
understood is refused and logged, and the line goes on. A coordinator that stays away for longer than a run's agreed
silence ends that run here: the line then makes an ``abort`` of its own.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from parties import __version__
from parties.agreement.overlap import OverlapAnswer
from parties.control.commands import (
    AbortBody,
    ApproveBody,
    Command,
    FinishedBody,
    RosterBody,
    SettleBody,
    WelcomeBody,
    parse_command,
)
from parties.control.phases import PhaseName
from parties.control.reports import (
    DataChecked,
    DoneBody,
    FailedBody,
    HeartbeatBody,
    HeldBody,
    IntroductionBody,
    LinksBody,
    ProgressBody,
    RejectedBody,
    Report,
    SignedBody,
)
from parties.errors import ConfigError, EntenteError, PeerError, RunAborted, StorageError
from parties.joining.succession import adopt_successor
from parties.names import COORDINATOR
from parties.process.supervision import start_loop
from parties.settlement.committed_rows import RowsCommitted
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer
from parties.transport.to_coordinator import Connection, Stream
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["CoordinatorLine"]

_LOG = logging.getLogger(__name__)
_PAUSE = 0.5
_CALL_SECONDS = 10.0
_DEFAULT_SILENCE = 60.0
_AFTERWARDS = (Answer, LiveRecord)  # said of runs that have ended


class CoordinatorLine:
    """One node's line. ``home`` holds ``keys/`` and ``roster.json``. Any thread may report.

    ``introduction``: what the node offers to runs, said each time the line attaches. ``runs``: those it has records of
    or was asked to sign, so that it is told how they ended while it was away.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        *,
        version: str = __version__,
        address: str = "",
        patience: float = _DEFAULT_SILENCE,
        introduction: IntroductionBody | None = None,
        runs: Iterable[str] = (),
    ) -> None:
        self._name = name
        self._version = version
        self._patience = patience
        self._session = secrets.token_hex(16)
        self._home, self._address = home, address
        self._connection = Connection(address, home, name)
        self._commands: queue.SimpleQueue[Command | EntenteError | None] = (
            queue.SimpleQueue()
        )  # its put may interrupt its get
        self._lock = threading.Lock()
        self._seen: dict[str, set[tuple[Any, ...]]] = {run_id: set() for run_id in runs}
        self._silence: dict[str, float] = {}
        self._ended: dict[str, str] = {}
        self._progress: dict[tuple[str, str], Report] = {}
        self._introduction = introduction
        self._introduced = True
        self._heartbeat = 2.0
        self._heard = time.monotonic()
        self._attached = threading.Event()
        self._closed = threading.Event()
        self._stream: Stream[wire.Command] | None = None
        self._beat, self._trouble = 0.0, ""
        self._lost: float | None = None

    def __enter__(self) -> CoordinatorLine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Begin to attach, and go on until :meth:`close`."""
        start_loop(self._listen, "coordinator line", self._closed, every=_PAUSE, trouble=_PAUSE)
        pace = lambda: min(_PAUSE, self._heartbeat / 2)  # noqa: E731 - it changes with the coordinator's welcome
        start_loop(self._speak, "coordinator heartbeat", self._closed, every=pace, trouble=_PAUSE)

    def wait_attached(self, timeout: float) -> bool:
        """Wait for the first attachment, ``timeout`` seconds at most; whether the line is attached."""
        return self._attached.wait(timeout)

    @property
    def silent_seconds(self) -> float:
        """How long ago the coordinator was heard of."""
        return time.monotonic() - self._heard

    def close(self) -> None:
        """Leave: :meth:`commands` ends, reports raise. For any thread, and no signal handler: gRPC takes locks."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()
        self._commands.put(None)
        self._connection.close()

    def commands(self) -> Iterator[Command]:
        """Commands as they come: ``approve``, ``start``, ``pause``, ``resume``, ``abort``, ``finished``; each once.

        Raises :class:`EntenteError` when the coordinator does not accept this node at all.
        """
        while True:
            item = self._commands.get()
            if item is None:
                return
            if isinstance(item, EntenteError):
                raise item
            yield item

    # -- what a party says

    def signed(self, run_id: str, signature: str) -> None:
        """The agreement is approved and signed."""
        self._report(Report(SignedBody(signature=signature), run_id))

    def links(self, run_id: str, said: LinksBody) -> None:
        """What answered at the peers' addresses before we sign."""
        self._report(Report(said, run_id))

    def rejected(self, run_id: str, why: str) -> None:
        """The agreement is refused."""
        self._report(Report(RejectedBody(why=why[:2000]), run_id))

    def done(self, run_id: str, phase: PhaseName, attempt: int, report: Mapping[str, Any]) -> None:
        """Our part of a phase is finished. ``report``: the phase's report of ``parties.control.phase_reports``."""
        with self._lock:
            last = self._progress.pop((run_id, phase), None)
        if last is not None:
            self._try(last)
        self._report(Report(DoneBody(phase=phase, attempt=attempt, report=dict(report)), run_id))

    def failed(
        self, run_id: str, phase: PhaseName, attempt: int, reason: str, peer: str = "", *, lost: bool = False
    ) -> None:
        """Our part of a phase failed; ``peer`` is whom we hold responsible, ``lost`` that we lost touch with it."""
        body = FailedBody(phase=phase, attempt=attempt, reason=reason[:2000], peer=peer[:32], lost=lost)
        self._report(Report(body, run_id))

    def held(self, run_id: str, phase: PhaseName, attempt: int) -> None:
        """Our part of a phase has stopped behind a record, as the run is paused."""
        self._report(Report(HeldBody(phase=phase, attempt=attempt), run_id))

    def progress(self, run_id: str, body: ProgressBody) -> None:
        """How far we are. Returns at once; only the latest of each phase is sent, about twice a second."""
        with self._lock:
            self._progress[run_id, body.phase] = Report(body, run_id)

    def settlement(self, run_id: str, answer: Answer) -> None:
        """Our answer to a settlement that waited for us."""
        self._report(Report(answer, run_id))

    def live(self, run_id: str, record: LiveRecord) -> None:
        """What we attest of a run on live data, as its label party."""
        self._report(Report(record, run_id))

    def rows(self, committed: RowsCommitted) -> None:
        """What we commit to of our rows."""
        self._report(Report(committed))

    def overlap(self, answer: OverlapAnswer) -> None:
        """What we say of an overlap proposal."""
        self._report(Report(answer))

    def data_checked(self, *, usable: bool) -> None:
        """Say with what we offer that our data were tried just now. Returns at once."""
        if self._introduction is not None:
            said = DataChecked(at=datetime.now(UTC), usable=usable)
            self._introduction = self._introduction.model_copy(update={"data": said})
            self._introduced = False

    def _report(self, report: Report) -> None:
        """Deliver, repeating while the coordinator is away and the run goes on, for ``patience`` seconds at most.

        Raises what the coordinator objects, :class:`PeerError` or :class:`RunAborted`.
        """
        data = report.encoded()
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._call(report, data)
                return
            except (PeerError, StorageError):
                if self._closed.is_set() or time.monotonic() > deadline:
                    raise
                ended = self._ended.get(report.run_id)
                if ended is not None and not isinstance(report.body, _AFTERWARDS):
                    raise RunAborted(ended) from None
            self._closed.wait(_PAUSE)

    def _call(self, report: Report, data: bytes) -> None:
        if self._closed.is_set():
            raise RunAborted(f"{self._name}'s line to the coordinator is closed")
        request = wire.PartyReport(kind=report.kind, run_id=report.run_id, body=data)
        self._connection.call("Report", request, wire.Receipt, timeout=_CALL_SECONDS)
        self._heard = time.monotonic()

    def _try(self, report: Report) -> None:
        try:
            self._call(report, report.encoded())
        except EntenteError as error:
            down = isinstance(error, PeerError) or self._trouble  # which was said once
            _LOG.log(logging.DEBUG if down else logging.INFO, "%s not delivered: %s", report.kind, error)

    # -- threads

    def _speak(self) -> None:
        """Send progress as it comes and a heartbeat at the coordinator's pace; notice when nobody answers."""
        with self._lock:
            waiting, self._progress = self._progress, {}
        if not self._introduced and self._introduction is not None and self._attached.is_set():
            self._introduced = True
            self._try(Report(self._introduction))
        for report in waiting.values():
            self._try(report)
        if time.monotonic() - self._beat >= self._heartbeat and self._attached.is_set():
            self._beat = time.monotonic()
            self._try(Report(HeartbeatBody()))
        self._give_up_silent_runs()

    def _give_up_silent_runs(self) -> None:
        silent = time.monotonic() - self._heard
        with self._lock:
            over = [run_id for run_id, limit in self._silence.items() if silent > limit]
        for run_id in over:
            reason = f"the coordinator has been silent for {silent:.0f} s: check that it runs"
            self._hand_out(Command(AbortBody(reason=reason, culprit=COORDINATOR, silent=True), run_id))

    def _listen(self) -> bool:
        """Attach, and take commands until the stream ends. False: the coordinator does not accept this node."""
        trouble = ""
        try:
            self._attach()
        except PeerError as error:
            trouble = str(error)
        except EntenteError as error:
            if isinstance(error, ConfigError) and self._follow_successor():
                return True
            if not self._attached.is_set():
                self._commands.put(error)
                return False
            trouble = str(error)
            if isinstance(error, ConfigError):
                trouble += ". If this node was put out of the consortium, its admin can say so: ask there"
        if trouble and trouble != self._trouble and not self._closed.is_set():
            _LOG.warning("no line to the coordinator: %s; this node goes on trying", trouble)
            self._lost = self._lost or time.monotonic()
        self._trouble = trouble
        return True

    def _follow_successor(self) -> bool:
        """Connect anew where the coordinator shows a new certificate of its own."""
        before = self._connection
        if not adopt_successor(self._home, before.address):
            return False
        self._connection = Connection(self._address, self._home, self._name)
        before.close()
        return True

    def _attach(self) -> None:
        with self._lock:
            runs = list(self._seen)
        request = wire.AttachRequest(version=self._version, session=self._session, runs=runs)
        self._stream = self._connection.stream("Attach", request, wire.Command)
        if self._closed.is_set():
            self._stream.cancel()
        for told in self._stream:
            self._heard = time.monotonic()
            try:
                command = parse_command(told.kind, told.run_id, told.body)
            except PeerError as error:
                _LOG.error("refused: %s", error)
                continue
            self._take(command)

    def _take(self, command: Command) -> None:
        match command.body:
            case WelcomeBody(heartbeat_seconds=seconds):
                self._heartbeat = seconds
                self._say_connected()
                self._attached.set()
                self._introduced = False
            case RosterBody() | SettleBody():
                self._commands.put(command)
            case _:
                self._hand_out(command)

    def _say_connected(self) -> None:
        """Once when the line is first there, and once each time it is back."""
        if self._lost is not None and self._attached.is_set():
            _LOG.info("the coordinator is back after %.0f s", time.monotonic() - self._lost)
        elif not self._attached.is_set():
            _LOG.info("connected to the coordinator at %s", self._connection.address)
        self._lost = None

    def _hand_out(self, command: Command) -> None:
        """Queue a command unless the same was queued before; keep track of the runs under way."""
        with self._lock:
            if isinstance(command.body, AbortBody | FinishedBody):
                if self._seen.pop(command.run_id, None) is None:
                    return
                self._silence.pop(command.run_id, None)
                reason = command.body.reason if isinstance(command.body, AbortBody) else "the run is settled"
                self._ended[command.run_id] = reason
            else:
                marks = self._seen.setdefault(command.run_id, set())
                if command.mark in marks:
                    return
                marks.add(command.mark)
                self._ended.pop(command.run_id, None)
                agreed = command.body.silence_seconds if isinstance(command.body, ApproveBody) else None
                self._silence.setdefault(command.run_id, agreed or self._patience)
        self._commands.put(command)
