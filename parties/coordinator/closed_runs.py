"""Runs as a coordinator's home remembers them, read for settlement while the coordinator may be running."""

from __future__ import annotations

from pathlib import Path

from parties.agreement.document import Agreement
from parties.coordinator.run import RunState
from parties.coordinator.settings import CoordinatorSettings, load_coordinator_settings
from parties.coordinator.state import step
from parties.coordinator.store import EventLog
from parties.errors import ConfigError
from parties.ledger.store import LedgerStore
from parties.process.database import open_engine
from parties.settlement.closed_run import ClosedRun
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier_store import FOLDER

__all__ = ["attested_file", "closed_run", "find_run", "is_valued", "open_ledger", "run_states", "valued_runs"]


def open_ledger(home: Path) -> LedgerStore:
    """The ledger of a coordinator's home. Raises :class:`ConfigError` when there is none."""
    place: str | Path = _settings(home).ledger or home / "ledger.db"
    file = place if isinstance(place, Path) else Path(place.removeprefix("sqlite:///"))
    if (isinstance(place, Path) or place.startswith("sqlite:///")) and not file.is_file():
        raise ConfigError(f"{file}: no such ledger; name the coordinator's folder, and start the coordinator once")
    return LedgerStore(place)


def attested_file(home: Path, run_id: str) -> Path | None:
    """The live record that the run's label party sent over its line, where it has sent one."""
    file = home / FOLDER / "live" / f"{run_id}.json"
    return file if file.is_file() else None


def valued_runs(home: Path) -> list[ClosedRun]:
    """Runs that came past valuation and did not abort, oldest first."""
    states = run_states(home).values()
    valued = ((state, Agreement.model_validate_json(state.agreement)) for state in states if is_valued(state))
    return [run for state, agreement in valued if (run := closed_run(state, agreement)) is not None]


def run_states(home: Path) -> dict[str, RunState]:
    """Every run by its id, as the home's event log has it, oldest first."""
    url = _settings(home).database or f"sqlite:///{home / 'coordinator.db'}"
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        raise ConfigError(f"{home}: no coordinator has run here; name the coordinator's folder")
    log = EventLog(open_engine(url))
    states: dict[str, RunState] = {}
    try:
        for logged in log.read():
            states[logged.event.run], _ = step(states.get(logged.event.run), logged.event)
    finally:
        log.close()
    return states


def find_run(home: Path, start: str) -> ClosedRun:
    """The one valued run whose id begins like this; the latest for an empty ``start``."""
    runs = valued_runs(home)
    found = [run for run in runs if run.run_id.startswith(start)]
    if not found:
        raise ConfigError(f"{home}: no run that begins with {start!r} has contributions to settle; list the runs")
    if start and len(found) > 1:
        raise ConfigError(f"{home}: {len(found)} runs begin with {start!r}; give more characters of the id")
    return found[-1]


def _settings(home: Path) -> CoordinatorSettings:
    if not home.is_dir():
        raise ConfigError(f"{home}: no such folder; name the coordinator's home")
    return load_coordinator_settings(home)


def is_valued(state: RunState) -> bool:
    """Whether the run's contributions are known and it did not abort."""
    return not state.reason and any(s.phase == "value" and s.outcome in ("done", "skipped") for s in state.spans)


def closed_run(state: RunState, agreement: Agreement) -> ClosedRun | None:
    """The run as settlement sees it; None before its contributions are known, and for one that aborted."""
    if not is_valued(state):
        return None
    spans = {span.phase: span for span in state.spans}
    valued = spans["value"]
    said = (valued.reports or {}).get(state.plan.label, {}).get("contribution")
    contribution = None if said is None else ContributionRecord.model_validate(said)
    settling = spans.get("settle")
    exported = spans.get("export")
    bundle = str((exported.reports or {}).get(state.plan.label, {}).get("sha256", "")) if exported else ""
    return ClosedRun(state.run, agreement, contribution, settling.started_at if settling else None, bundle)
