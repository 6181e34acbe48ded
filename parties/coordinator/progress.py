"""Live progress of runs, in memory: what parties last said, with speed and remaining time.

None of it decides anything: a run's fate is in the event log alone. It is bounded by the number of
parties, phases, message types and periods, and a copy is kept in the database so that it outlives a restart.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

from parties.calls.views import BytesView, OpeningsView, ProgressView, RelayView, SeriesPoint
from parties.control.phase_reports import OpeningsUsed, PartReport, Point, Traffic
from parties.control.reports import LinksBody, ProgressBody
from parties.coordinator.round_record import RoundRecord

__all__ = ["RunProgress"]

_SAMPLES = 20
_MOST_PERIODS = 4000


P = ParamSpec("P")
R = TypeVar("R")


def _alone(method: Callable[Concatenate[RunProgress, P], R]) -> Callable[Concatenate[RunProgress, P], R]:
    """The method under the run's own lock."""

    @functools.wraps(method)
    def locked(self: RunProgress, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


@dataclass(slots=True)
class _Part:
    """One party in one phase."""

    view: ProgressView
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_SAMPLES))


class RunProgress:
    """One run's progress. Thread-safe."""

    def __init__(self, label: str, periods: tuple[str, ...]) -> None:
        self._lock = threading.RLock()
        self._label = label
        self._periods = periods
        self._known = frozenset(periods)
        self._parts: dict[tuple[str, str], _Part] = {}
        self._series: dict[str, SeriesPoint] = {}
        self._traffic: dict[tuple[str, str, str], Traffic] = {}
        self._openings: dict[str, OpeningsUsed] = {}
        self._memory: dict[str, float] = {}
        self._relayed: dict[tuple[str, str], int] = {}
        self._tried: dict[str, LinksBody] = {}
        self._rounds = RoundRecord()

    @_alone
    def linked(self, party: str, said: LinksBody) -> None:
        """What answered at the addresses of the party's peers before it signed."""
        self._tried[party] = said

    @_alone
    def tried_links(self) -> dict[str, LinksBody]:
        """What each party said of the links to its peers before it signed. A restart forgets it."""
        return dict(self._tried)

    @_alone
    def heard(self, party: str, body: ProgressBody, at: datetime, clock: float) -> None:
        """Take in a progress report; ``clock`` is monotonic seconds."""
        key = (party, body.phase)
        part = self._parts.get(key)
        if part is None or part.view.done > body.done or part.view.unit != body.unit:
            part = self._parts[key] = _Part(_view(party, body, at, None))
        part.samples.append((clock, body.done))
        (since, first), (until, last) = part.samples[0], part.samples[-1]
        speed = (last - first) / (until - since) if until > since else None
        part.view = _view(party, body, at, speed)
        self._note_costs(party, body.phase, body.traffic, body.openings, body.peak_rss_mb)
        if party == self._label:
            self._note_points(body.points, at)
            self._note_step(body.metrics, body.openings, at)

    @_alone
    def round_opened(self, phase: str, attempt: int, names: tuple[str, ...]) -> None:
        """A round of a federated training opened, over these members."""
        self._rounds = self._rounds.opened(phase, attempt, names)

    @_alone
    def round_begins(self, phase: str, attempt: int, names: tuple[str, ...]) -> None:
        """A round of a federated training may open from now on, over these members at most."""
        self._rounds = self._rounds.begins(phase, attempt, names)

    @_alone
    def rounds_missed(self) -> None:
        """The coordinator began anew while rounds went on: some may have opened that it kept no record of."""
        self._rounds = self._rounds.model_copy(update={"missed": True})

    @_alone
    def rounds(self) -> RoundRecord:
        """Who was in which round that opened."""
        return self._rounds

    @_alone
    def closed(self, party: str, phase: str, report: PartReport, at: datetime) -> None:
        """Take in what a party's final report on a phase says."""
        part = self._parts.get((party, phase))
        if part is not None:
            done = {"done": max(part.view.done, part.view.total), "eta_seconds": 0.0, "at": at}
            part.view = part.view.model_copy(update=done)
        self._note_costs(party, phase, report.traffic, report.openings, report.peak_rss_mb)
        if party == self._label:
            self._note_points(report.points, at)

    def _note_costs(
        self,
        party: str,
        phase: str,
        traffic: Mapping[str, Traffic],
        openings: OpeningsUsed | None,
        memory: float | None,
    ) -> None:
        for kind, tally in traffic.items():
            self._traffic[party, phase, kind] = tally
        if openings is not None:
            self._openings[party] = openings
        if memory is not None:
            self._memory[party] = max(memory, self._memory.get(party, 0.0))

    def _note_points(self, points: tuple[Point, ...], at: datetime) -> None:
        for point in points:
            self._merge(point.period, point.model_dump(exclude={"period"}, exclude_none=True), at)

    def _note_step(self, metrics: Mapping[str, float], openings: OpeningsUsed | None, at: datetime) -> None:
        """Walk-forward training tells the period it is in by index, with its last batch's loss or last tree's gain."""
        index = metrics.get("period")
        if index is None or not 0 <= index < len(self._periods):
            return
        known: dict[str, Any] = {name: metrics[name] for name in ("loss", "gain") if name in metrics}
        if openings is not None:
            known["openings"] = openings.max_used
        self._merge(self._periods[int(index)], known, at)

    def _merge(self, period: str, known: dict[str, Any], at: datetime) -> None:
        if not known or period not in self._known or len(self._series) >= _MOST_PERIODS:
            return
        old = self._series.get(period) or SeriesPoint(period=period)
        self._series[period] = old.model_copy(update={**known, "at": at})

    @_alone
    def of_phase(self, phase: str) -> tuple[ProgressView, ...]:
        """Each party's progress in a phase."""
        return tuple(part.view for (_, name), part in self._parts.items() if name == phase)

    @_alone
    def series(self) -> tuple[SeriesPoint, ...]:
        """Points in calendar order."""
        return tuple(self._series[period] for period in self._periods if period in self._series)

    @_alone
    def openings(self) -> tuple[OpeningsView, ...]:
        return tuple(
            OpeningsView(party=party, limit=used.limit, max_used=used.max_used)
            for party, used in sorted(self._openings.items())
        )

    @_alone
    def traffic(self) -> tuple[BytesView, ...]:
        """Bytes by party and message type, over all phases."""
        totals: dict[tuple[str, str], BytesView] = {}
        for (party, _, kind), tally in sorted(self._traffic.items()):
            old = totals.get((party, kind))
            totals[party, kind] = BytesView(
                party=party,
                message=kind,
                payload=tally.payload,
                bytes=tally.bytes + (old.bytes if old else 0),
                messages=tally.messages + (old.messages if old else 0),
            )
        return tuple(totals.values())

    @_alone
    def relayed(self, sender: str, receiver: str, size: int) -> None:
        """Take in that ``size`` more bytes went from one member to another through the coordinator."""
        self._relayed[sender, receiver] = self._relayed.get((sender, receiver), 0) + size

    @_alone
    def relays(self) -> tuple[RelayView, ...]:
        """Which members' connections led through the coordinator."""
        return tuple(
            RelayView(sender=sender, receiver=receiver, bytes=size)
            for (sender, receiver), size in sorted(self._relayed.items())
        )

    @_alone
    def links(self) -> dict[tuple[str, str, str], tuple[str, int]]:
        """Class and bytes by sender, receiver and message type, over all phases.

        The receiver is "" for what a sender did not split by receivers.
        """
        totals: dict[tuple[str, str, str], tuple[str, int]] = {}
        for (party, _, kind), tally in sorted(self._traffic.items()):
            split = tally.to or {"": tally.bytes}
            for receiver, size in split.items():
                before = totals.get((party, receiver, kind), (tally.payload, 0))[1]
                totals[party, receiver, kind] = (tally.payload, before + size)
        return totals

    @_alone
    def memory(self) -> dict[str, float]:
        """Peak resident memory by party, MB."""
        return dict(sorted(self._memory.items()))

    @_alone
    def to_json(self) -> dict[str, Any]:
        """A record that :meth:`restore` takes back."""
        return {
            "parts": [part.view.model_dump(mode="json") for part in self._parts.values()],
            "series": [point.model_dump(mode="json", exclude_none=True) for point in self.series()],
            "traffic": [[*key, tally.model_dump()] for key, tally in self._traffic.items()],
            "openings": {party: used.model_dump() for party, used in self._openings.items()},
            "memory": self._memory,
            "relayed": [[*pair, size] for pair, size in self._relayed.items()],
            "rounds": self._rounds.model_dump(mode="json"),
        }

    @_alone
    def restore(self, record: Mapping[str, Any]) -> None:
        """Take back what :meth:`to_json` gave, after a restart."""
        for view in map(ProgressView.model_validate, record.get("parts", ())):
            self._parts[view.party, view.phase] = _Part(view)
        for point in map(SeriesPoint.model_validate, record.get("series", ())):
            self._series[point.period] = point
        for party, phase, kind, tally in record.get("traffic", ()):
            self._traffic[party, phase, kind] = Traffic.model_validate(tally)
        for party, used in record.get("openings", {}).items():
            self._openings[party] = OpeningsUsed.model_validate(used)
        self._memory.update(record.get("memory", {}))
        self._rounds = RoundRecord.model_validate(record.get("rounds", {}))
        self._relayed.update({(sender, receiver): size for sender, receiver, size in record.get("relayed", ())})


def _view(party: str, body: ProgressBody, at: datetime, speed: float | None) -> ProgressView:
    left = max(body.total - body.done, 0)
    return ProgressView(
        party=party,
        phase=body.phase,
        done=body.done,
        total=body.total,
        unit=body.unit,
        per_second=speed,
        eta_seconds=left / speed if speed else None,
        metrics=body.metrics,
        at=at,
    )
