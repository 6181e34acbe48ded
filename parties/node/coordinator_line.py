"""A party's standing line to the coordinator: commands come down, reports go up.

    line = CoordinatorLine("sat", Path("sat-home"))
    line.start()
    for command in line.commands():     # until close()
        ...

The line attaches again by itself after a loss, says that the node is there, drops commands that it has handed out
before, and repeats a report until the coordinator has it (repeated reports are harmless). A coordinator that
stays away for longer than a run's agreed silence ends that run here: the line then makes an ``abort`` of its own.
"""

from __future__ import annotations

import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from parties import __version__
from parties.control.commands import Command, CommandKind
from parties.control.phases import PhaseName
from parties.control.reports import FailedBody, HeldBody, ProgressBody, RejectedBody, SignedBody
from parties.errors import ConfigError, EntenteError, PeerError, RunAborted, StorageError
from parties.joining.succession import adopt_successor
from parties.names import COORDINATOR
from parties.transport.to_coordinator import Connection, Stream
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["CoordinatorLine"]

_LOG = logging.getLogger(__name__)
_PAUSE = 0.5
_CALL_SECONDS = 10.0
_DEFAULT_SILENCE = 60.0
_AFTERWARDS = ("settlement", "live")  # said of runs that have ended


class CoordinatorLine:
    """One node's line. ``home`` holds ``keys/`` and ``roster.json``. Any thread may report.

    ``introduction``: what the node offers to runs, said each time the line attaches. ``runs``: those it has records of,
    so that it is told how they ended while it was away.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        *,
        version: str = __version__,
        address: str = "",
        patience: float = _DEFAULT_SILENCE,
        introduction: Mapping[str, Any] | None = None,
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
        self._seen: dict[str, set[tuple[str, str, int]]] = {run_id: set() for run_id in runs}
        self._silence: dict[str, float] = {}
        self._ended: dict[str, str] = {}
        self._progress: dict[tuple[str, str], bytes] = {}
        self._introduction = json.dumps(introduction).encode() if introduction else b""
        self._introduced = True
        self._heartbeat = 2.0
        self._heard = time.monotonic()
        self._attached = threading.Event()
        self._closed = threading.Event()
        self._stream: Stream[wire.Command] | None = None
        self._threads = (
            threading.Thread(target=self._listen, name="coordinator line", daemon=True),
            threading.Thread(target=self._speak, name="coordinator heartbeat", daemon=True),
        )

    def __enter__(self) -> CoordinatorLine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Begin to attach, and go on until :meth:`close`."""
        for thread in self._threads:
            thread.start()

    def wait_attached(self, timeout: float) -> bool:
        """Wait for the first attachment, ``timeout`` seconds at most; whether the line is attached."""
        return self._attached.wait(timeout)

    @property
    def silent_seconds(self) -> float:
        """How long ago the coordinator was heard of."""
        return time.monotonic() - self._heard

    def close(self) -> None:
        """Leave: :meth:`commands` ends, reports raise. May be called from a signal handler."""
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
        self._report("signed", run_id, SignedBody(signature=signature).model_dump())

    def rejected(self, run_id: str, why: str) -> None:
        """The agreement is refused."""
        self._report("rejected", run_id, RejectedBody(why=why[:2000]).model_dump())

    def done(self, run_id: str, phase: PhaseName, attempt: int, report: Mapping[str, Any]) -> None:
        """Our part of a phase is finished. ``report``: the phase's report of ``parties.control.reports``."""
        with self._lock:
            last = self._progress.pop((run_id, phase), None)
        if last is not None:
            self._try("progress", run_id, last)
        self._report("done", run_id, {"phase": phase, "attempt": attempt, "report": dict(report)})

    def failed(
        self, run_id: str, phase: PhaseName, attempt: int, reason: str, peer: str = "", *, lost: bool = False
    ) -> None:
        """Our part of a phase failed; ``peer`` is whom we hold responsible, ``lost`` that we lost touch with it."""
        body = FailedBody(phase=phase, attempt=attempt, reason=reason[:2000], peer=peer[:32], lost=lost)
        self._report("failed", run_id, body.model_dump())

    def held(self, run_id: str, phase: PhaseName, attempt: int) -> None:
        """Our part of a phase has stopped behind a record, as the run is paused."""
        self._report("held", run_id, HeldBody(phase=phase, attempt=attempt).model_dump())

    def progress(self, run_id: str, body: ProgressBody) -> None:
        """How far we are. Returns at once; only the latest of each phase is sent, about twice a second."""
        with self._lock:
            self._progress[run_id, body.phase] = body.model_dump_json(exclude_defaults=True).encode()

    def settlement(self, run_id: str, answer: Mapping[str, Any]) -> None:
        """Our answer to a settlement that waited for us."""
        self._report("settlement", run_id, answer)

    def live(self, run_id: str, record: Mapping[str, Any]) -> None:
        """What we attest of a run on live data, as its label party."""
        self._report("live", run_id, record)

    def _report(self, kind: str, run_id: str, body: Mapping[str, Any]) -> None:
        """Deliver, repeating while the coordinator is away and the run goes on.

        Raises what the coordinator objects, :class:`PeerError` or :class:`RunAborted`.
        """
        data = json.dumps(body, allow_nan=False).encode()
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._call(kind, run_id, data)
                return
            except (PeerError, StorageError):
                if self._closed.is_set() or time.monotonic() > deadline:
                    raise
                if run_id in self._ended and kind not in _AFTERWARDS:
                    raise RunAborted(self._ended[run_id]) from None
            self._closed.wait(_PAUSE)

    def _call(self, kind: str, run_id: str, data: bytes) -> None:
        if self._closed.is_set():
            raise RunAborted(f"{self._name}'s line to the coordinator is closed")
        request = wire.PartyReport(kind=kind, run_id=run_id, body=data)
        self._connection.call("Report", request, wire.Receipt, timeout=_CALL_SECONDS)
        self._heard = time.monotonic()

    def _try(self, kind: str, run_id: str, data: bytes) -> None:
        try:
            self._call(kind, run_id, data)
        except EntenteError as error:
            _LOG.info("%s not delivered: %s", kind, error)

    # -- threads

    def _speak(self) -> None:
        """Send progress as it comes and a heartbeat at the coordinator's pace; notice when nobody answers."""
        last = 0.0
        while not self._closed.wait(min(_PAUSE, self._heartbeat / 2)):
            with self._lock:
                waiting, self._progress = self._progress, {}
            if not self._introduced and self._introduction:
                self._introduced = True
                self._try("introduction", "", self._introduction)
            for (run_id, _), data in waiting.items():
                self._try("progress", run_id, data)
            if time.monotonic() - last >= self._heartbeat and self._attached.is_set():
                last = time.monotonic()
                self._try("heartbeat", "", b"{}")
            self._give_up_silent_runs()

    def _give_up_silent_runs(self) -> None:
        silent = time.monotonic() - self._heard
        with self._lock:
            over = [run_id for run_id, limit in self._silence.items() if silent > limit]
        for run_id in over:
            reason = f"the coordinator has been silent for {silent:.0f} s: check that it runs"
            self._hand_out(Command("abort", run_id, {"reason": reason, "culprit": COORDINATOR, "silent": True}))

    def _listen(self) -> None:
        told = ""
        while not self._closed.is_set():
            trouble = ""
            try:
                self._attach()
            except PeerError as error:
                trouble = str(error)
            except EntenteError as error:
                if isinstance(error, ConfigError) and self._follow_successor():
                    continue
                if not self._attached.is_set():
                    self._commands.put(error)
                    return
                trouble = str(error)
            except (ValueError, KeyError, TypeError) as error:
                trouble = f"the coordinator sent a command that is not understood ({error})"
            if trouble and trouble != told and not self._closed.is_set():
                _LOG.warning("no line to the coordinator: %s", trouble)
            told = trouble
            self._closed.wait(_PAUSE)

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
            if told.kind not in get_args(CommandKind):
                raise ValueError(f"unknown kind {told.kind[:20]!r}")
            command = Command(told.kind, told.run_id, json.loads(told.body))  # type: ignore[arg-type]
            if command.kind == "welcome":
                self._heartbeat = float(command.body["heartbeat_seconds"])
                self._attached.set()
                self._introduced = False
            elif command.kind in ("roster", "settle"):
                self._commands.put(command)
            else:
                self._hand_out(command)

    def _hand_out(self, command: Command) -> None:
        """Queue a command unless the same was queued before; keep track of the runs under way."""
        count = command.body.get("number", command.body.get("attempt", 0))
        mark = (command.kind, str(command.body.get("phase", "")), int(count))
        with self._lock:
            if command.kind in ("abort", "finished"):
                if self._seen.pop(command.run_id, None) is None:
                    return
                self._silence.pop(command.run_id, None)
                self._ended[command.run_id] = str(command.body.get("reason", "the run is settled"))
            else:
                marks = self._seen.setdefault(command.run_id, set())
                if mark in marks:
                    return
                marks.add(mark)
                self._ended.pop(command.run_id, None)
                agreed = command.body.get("agreement", {}).get("silence_seconds")
                self._silence.setdefault(command.run_id, float(agreed or self._patience))
        self._commands.put(command)
