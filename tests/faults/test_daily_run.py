"""Daily use with real processes: a run, a node killed while it scores the next week, the week after by command."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.cli import run as command
from parties.factor.live_scores import LiveStatus, live_scores, live_status
from parties.node.kept_weights import kept_runs
from parties.node.openings import OpeningStore
from parties.proposing.scoring import scoring_of
from parties.settings.consortium import ConsortiumSettings
from tests.faults.living import LABEL, PARTIES, Living, living
from tests.parties.demo_rig import until
from vfl.terms import SealedModel

MODEL = SealedModel(warmup_steps=2, batch_rows=256, width=1)
TRAINED, WEEKS = 14, 18


LONG = pytest.mark.skipif(
    not os.environ.get("ENTENTE_LONG"), reason="test_daily.py has it in one process: set ENTENTE_LONG=1"
)


def _scheduled(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The same, and the coordinator proposes each week by itself."""
    terms = _shorter(settings).model_dump()
    terms["daily"]["schedule"] = "due"
    return ConsortiumSettings.model_validate(terms)


def _shorter(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The last four weeks of the data are new periods."""
    assert settings.calendar is not None
    last = settings.calendar.first + timedelta(days=7 * (TRAINED - 1))
    return ConsortiumSettings.model_validate(
        settings.model_dump()
        | {
            "calendar": settings.calendar.model_dump() | {"last": last},
            "evaluation": {},
            "openings": settings.openings.model_dump() | {"contribution": "none"},
            "reward": {},
            "daily": {"scores": 3, "expires": date(2100, 1, 1)},
        }
    )


def _charged(alive: Living, run_id: str) -> int:
    """Scores of rows that the anchor counted in a session."""
    store = OpeningStore(f"sqlite:///{alive.homes.party(alive.agreement.model.anchor) / 'state.db'}")
    try:
        return sum(len(charge.rows) for charge in store.history(run_id))
    finally:
        store.close()


@pytest.mark.system
@LONG
def test_a_killed_session_goes_on_and_a_period_is_scored_once(tmp_path: Path) -> None:
    with living(tmp_path, model=MODEL, periods=WEEKS, terms=_shorter) as alive:
        alive.settled()
        home = alive.homes.party(LABEL)
        assert all(kept_runs(alive.homes.party(name)) == [alive.agreement.run_id] for name in PARTIES)
        nodes = alive.homes.roster
        first = str(pd.Timestamp(alive.agreement.periods[-1]) + pd.Timedelta(days=7))[:10]
        session = scoring_of(alive.agreement, nodes, datetime.now(UTC), timedelta(hours=1), first)
        with alive.client() as client:
            client.propose(session)
            log = alive.homes.logs / "satellite.log"
            until(lambda: f"{session.run_id[:12]}: train begins" in log.read_text(errors="replace"), "the session")
            alive.kill("satellite")
            alive.start("satellite")
            until(lambda: client.run(session.run_id).ended, "the end")
            assert client.run(session.run_id).status == "settled", client.run(session.run_id).reason
        [bundle] = home.glob("factors/*/*")
        found = live_scores(bundle)
        assert _charged(alive, session.run_id) == len(found) > 30
        assert np.isfinite(found["score"]).all()
        _score_by_command(alive, bundle)


def _score_by_command(alive: Living, bundle: Path) -> None:
    """The next week by ``entente run score``; a week without data, and one that was scored, are refused."""
    run_id, credentials = alive.agreement.run_id, str(alive.homes.admin)
    assert command(["run", "score", run_id[:12], "--credentials", credentials]) == 0
    status = live_status(bundle)
    assert status is not None
    assert len(status.scored) == 2
    scored = live_scores(bundle)
    assert scored.index.get_level_values("datetime").nunique() == 2
    assert command(["run", "score", run_id[:12], "--period", status.scored[0], "--credentials", credentials]) == 4
    assert command(["run", "score", run_id[:12], "--period", "2024-01-05", "--credentials", credentials]) == 6
    for name in set(alive.agreement.recipients) & set(PARTIES):
        [folder] = alive.homes.party(name).glob("live/*/*.json")
        assert LiveStatus.model_validate_json(folder.read_bytes()) == status, "every recipient has the records"
    with alive.client() as client:
        daily = client.run(run_id).daily
    assert daily is not None
    assert (len(daily.scored), daily.agreed, daily.ended) == (2, 3, "")


@pytest.mark.system
@LONG
def test_a_schedule_and_a_watch_score_all_that_was_agreed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first week by the coordinator alone; a watch beside it goes on to the last, and ends. Each is scored once."""
    with living(tmp_path, model=MODEL, periods=WEEKS, terms=_scheduled) as alive:
        alive.settled()
        run_id = alive.agreement.run_id
        with alive.client() as client:

            def scored() -> int:
                daily = client.run(run_id).daily
                return 0 if daily is None else len(daily.scored)

            until(lambda: scored() == 1, "the coordinator's first session")
            watch = ["run", "score", run_id[:12], "--watch", "--every", "1m", "--credentials", str(alive.homes.admin)]
            assert command(watch) == 4
            said = " ".join("".join(capfd.readouterr()).split())
            assert "3 periods of run" in said
            assert "all that was agreed (daily.scores): propose a new run" in said
            daily = client.run(run_id).daily
            assert daily is not None
            assert daily.ended == "all 3 agreed periods were scored"
            sessions = [one for one in daily.sessions if one.status == "settled"]
        [bundle] = alive.homes.party(LABEL).glob("factors/*/*")
        found = live_scores(bundle)
        assert [str(day)[:10] for day in found.index.unique("datetime")] == sorted(daily.scored)
        assert sum(_charged(alive, one.run_id) for one in sessions) == len(found)
        # the coordinator is a recipient without a part in the session: the files that lie there are the label party's
        for one in sessions:
            [delivered] = alive.homes.out.glob(f"coordinator/factors/{one.run_id}*")
            [kept] = alive.homes.party(LABEL).glob(f"live/*/*.{one.period}")
            assert (delivered / "factor.parquet").read_bytes() == (kept / "factor.parquet").read_bytes()
