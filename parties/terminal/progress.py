"""A run's progress on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.text import Text

from parties.calls.run_parts import FederatedView
from parties.client import CoordinatorAway, PhaseView, ProgressView, RunView
from parties.names import COORDINATOR
from parties.plurals import singular, things
from parties.terminal.console import plain

__all__ = ["ProgressLines", "ProgressScreen", "answered", "followed", "speed", "watcher"]

_EVERY_SECONDS = 10.0

T = TypeVar("T")


def watcher(console: Console) -> ProgressScreen | ProgressLines:
    """What suits the terminal."""
    return ProgressScreen(console) if console.is_terminal else ProgressLines(console)


class ProgressLines:
    """One line when a phase ends, and now and then during a long one, where there is something new to say."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ended: set[str] = set()
        self._said = ""
        self._last = time.monotonic()

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass

    def note(self, text: str) -> None:
        """Something that is no phase of the run."""
        self._console.print(plain(text))

    def show(self, view: RunView) -> None:
        """Where the run stands now."""
        for phase in view.phases:
            if phase.status in ("done", "skipped", "failed") and phase.name not in self._ended:
                self._ended.add(phase.name)
                self._console.print(f"{phase.name:9} {phase.status:8} {_took(view, phase)}".rstrip())
                self._last = time.monotonic()
            elif phase.status == "running" and time.monotonic() - self._last > _EVERY_SECONDS:
                self._last = time.monotonic()
                line = f"{phase.name:9} {phase.status:8} {_detail(view, phase)}".rstrip()
                if line != self._said:
                    self._console.print(line)
                    self._said = line


class ProgressScreen:
    """A bar per phase with rows, speed, remaining time and openings."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=Text("\N{CHECK MARK}", style="green")),
            TextColumn("{task.description:9}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.percentage:>4.0f}%", markup=False),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressScreen:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Something that is no phase of the run."""
        self._progress.console.print(plain(text), markup=False)

    def show(self, view: RunView) -> None:
        """Where the run stands now."""
        for phase in view.phases:
            if phase.status == "waiting":
                continue
            if phase.name not in self._tasks:
                self._tasks[phase.name] = self._progress.add_task(phase.name, total=1.0, detail="")
            done = phase.status in ("done", "skipped")
            self._progress.update(
                self._tasks[phase.name],
                completed=1.0 if done else _fraction(phase),
                detail=_took(view, phase) if done else _detail(view, phase),
            )


def followed(read: Callable[[], RunView], shown: ProgressLines | ProgressScreen, pause: Callable[[], None]) -> RunView:
    """Show a run until it has ended; its last view. A coordinator that goes away is waited for."""
    while True:
        view = answered(read, shown.note, pause)
        shown.show(view)
        if view.ended:
            return view
        pause()


def answered(read: Callable[[], T], say: Callable[[str], None], pause: Callable[[], None]) -> T:
    """What the coordinator answers. While it is away it is asked on, and that is said once."""
    lost: datetime | None = None
    while True:
        try:
            found = read()
        except CoordinatorAway as away:
            if lost is None:
                lost = datetime.now(UTC)
                say(f"{away}. It is asked again until it answers; Ctrl-C ends this command, not the run.")
            pause()
        else:
            if lost is not None:
                say(f"The coordinator answers again, after {(datetime.now(UTC) - lost).total_seconds():.0f} s.")
            return found


def _slowest(phase: PhaseView) -> ProgressView | None:
    """Who has most left to do; of rounds whoever opens them, for a member that is lost says no more."""
    opens = next((one for one in phase.progress if one.party == COORDINATOR and one.unit == "rounds"), None)
    return opens or min(phase.progress, key=lambda progress: progress.fraction, default=None)


def _fraction(phase: PhaseView) -> float:
    slowest = _slowest(phase)
    return 0.0 if slowest is None else slowest.fraction


def _took(view: RunView, phase: PhaseView) -> str:
    """Seconds of all attempts, and of what: common entities, rows; never ids on their way, which are for under way."""
    if phase.status == "skipped" or phase.seconds is None:
        return ""
    last = max(phase.progress, key=lambda progress: progress.done, default=None)
    told = f", {things(last.done, last.unit)}" if last is not None and last.unit not in ("ids", "chunks") else ""
    if phase.name == "align" and view.n_common is not None:
        told = f", {things(view.n_common, 'entities')}"
    attempts = f" in {things(phase.attempt, 'attempts')}" if phase.attempt > 1 else ""
    return f"{phase.seconds:.1f} s{attempts}{told}"


def _detail(view: RunView, phase: PhaseView) -> str:
    """done/total, rows per second, time left, and the most openings of a row against the limit."""
    if view.status == "paused":
        return plain(f"waiting for {', '.join(view.waiting_for)}")
    slowest = _slowest(phase)
    if slowest is None:
        return plain(f"waiting for {', '.join(view.waiting_for)}") if phase.name == "approve" else ""
    parts = [f"{slowest.done:,}/{slowest.total:,} {slowest.unit}"]
    if slowest.per_second:
        parts.append(speed(slowest.per_second, slowest.unit))
    if slowest.eta_seconds is not None:
        parts.append(f"{slowest.eta_seconds:.0f} s left")
    rounds = view.federated
    if rounds is not None and phase.name in ("train", "value"):
        parts.extend(_rounds(rounds, training=phase.name == "train"))
    if phase.name == "encode":
        parts.extend(f"{one.group} {things(len(one.latest), 'members')}" for one in view.groups if one.latest)
    if view.openings:
        parts.append(f"openings {max(o.max_used for o in view.openings)}/{min(o.limit for o in view.openings)}")
    return plain(", ".join(parts))


def _rounds(found: FederatedView, *, training: bool) -> Iterator[str]:
    """Who is in the rounds now, and epsilon so far."""
    if training and found.latest:
        yield things(len(found.latest), "members")
    if found.dropped:
        yield f"without {', '.join(found.dropped)}"
    if found.epsilon is not None:
        yield f"epsilon {'at least ' if found.missed else ''}{found.epsilon:.3g} at delta {found.delta:g}"


def speed(per_second: float, unit: str) -> str:
    """Rows a second; seconds of a tree where less than one is done in a second."""
    return f"{per_second:,.0f} {unit}/s" if per_second >= 1 else f"{1 / per_second:.1f} s a {singular(unit)}"
