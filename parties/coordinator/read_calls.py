"""What may be read: the views by name, built from what the coordinator knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from parties import __version__
from parties.calls.views import CoordinatorView, RunView
from parties.coordinator.bundles import BundleStore
from parties.coordinator.daily_views import daily_view
from parties.coordinator.desk.access import holds_factor, run_of, runs_of, sees_rewards, takes_part
from parties.coordinator.desk.doors import AUDITORS, Caller, admit
from parties.coordinator.engine import Engine
from parties.coordinator.run_views import LedgerReader, event_view, party_view, run_summary, run_view
from parties.coordinator.settings import CoordinatorSettings
from parties.coordinator.store import EventLog
from parties.errors import ConfigError
from parties.members.roster import Roster
from parties.names import NO_PARTIES
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["Reader"]

_MOST_ROWS = 1000


class Reader:
    """Answers reading calls; each answer is JSON."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        started_at: datetime,
        engine: Engine,
        roster: Roster,
        log: EventLog,
        bundles: BundleStore,
        ledger: LedgerReader,
    ) -> None:
        self._settings = settings
        self._started_at = started_at
        self._engine = engine
        self._roster = roster
        self._log = log
        self._bundles = bundles
        self._ledger = ledger
        self._views: dict[str, Callable[[wire.Query, Caller], Any]] = {
            "coordinator": lambda *_: self._self(),
            "parties": lambda _, caller: self._parties(caller),
            "runs": self._runs,
            "run": self._run,
            "events": self._events,
            "ledger": self._books,
        }

    def document(self, query: wire.Query, caller: Caller) -> bytes:
        """One of the views, as far as it is the caller's to see. Raises :class:`ConfigError` for one that is none."""
        view = self._views.get(query.view)
        if view is None:
            raise ConfigError("there is no such view: use one version on both sides")
        found = view(query, caller)
        if isinstance(found, BaseModel):
            return found.model_dump_json().encode()
        return json.dumps([item.model_dump(mode="json") for item in found]).encode()

    def archive(self, run_id: str) -> bytes:
        """A run's factor bundle as a zip archive."""
        return self._bundles.archive(self._engine.known(run_id).state.run)

    def _run(self, query: wire.Query, caller: Caller) -> RunView:
        known = run_of(self._engine, query.run_id, caller)
        found, plan = run_view(known, self._bundles), known.state.plan
        daily = daily_view(known, self._engine.all_runs(), self._roster, datetime.now(UTC))
        found = found.model_copy(update={"daily": daily})
        if not sees_rewards(caller, plan):
            found = found.model_copy(update={"contribution_way": "", "contributions": (), "transactions": ()})
        if found.factor is not None and not holds_factor(caller, plan):
            found = found.model_copy(update={"factor": found.factor.model_copy(update={"metadata": {}, "files": ()})})
        return found

    def _books(self, query: wire.Query, caller: Caller) -> BaseModel:
        admit(caller, AUDITORS)
        return self._ledger.view(query.run_id, _rows(query), query.offset)

    def _self(self) -> CoordinatorView:
        runs = self._engine.all_runs()
        lines = self._engine.attachments(self._members())
        return CoordinatorView(
            name=self._settings.name,
            version=__version__,
            started_at=self._started_at,
            runs=len(runs),
            runs_in_progress=sum(not known.state.ended for known in runs),
            parties_online=sum(line.attached for line in lines.values()),
        )

    def _members(self) -> list[str]:
        return [name for name in self._roster if name not in NO_PARTIES]

    def _parties(self, caller: Caller) -> list[BaseModel]:
        heartbeat, runs = self._settings.heartbeat_seconds, runs_of(self._engine, caller)
        members = {name: self._roster[name] for name in self._members()}
        lines = self._engine.attachments(members)
        return [party_view(name, members[name], line, runs, heartbeat) for name, line in lines.items()]

    def _runs(self, query: wire.Query, caller: Caller) -> list[BaseModel]:
        return [
            run_summary(known) for known in runs_of(self._engine, caller)[query.offset : query.offset + _rows(query)]
        ]

    def _events(self, query: wire.Query, caller: Caller) -> list[BaseModel]:
        found = self._log.read(run_id=query.run_id, after=query.offset, limit=_rows(query))
        outside = {known.state.run for known in self._engine.all_runs() if not takes_part(caller, known.state.plan)}
        return [event_view(event) for event in found if event.event.run not in outside]


def _rows(query: wire.Query) -> int:
    return min(query.limit or 100, _MOST_ROWS)
