"""A screen of formulas, daily use and one of its sessions, for the sample: each in the states that it can be in."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from parties.calls.run_parts import DailySession, ScreenPassedView
from parties.client import DailyView, OpeningsView, PhaseView, RunView, ScreenView
from tests.ui.sample import HOSTILE, PARTIES, T0, settled_run

__all__ = ["DAILY", "ENDED", "SCREEN", "SESSION", "screen_run", "scoring_run"]

SCREEN, SESSION = "e5" * 32, "f6" * 32

SESSIONS = (
    DailySession(run_id=SESSION, period="2026-11-06", status="settled", at=T0 + timedelta(days=5), rows=463, bits=7871),
    DailySession(
        run_id="07" * 32, period="2026-11-06", status="aborted", at=T0 + timedelta(days=4),
        reason=f"orbit: its data is not complete {HOSTILE}",
    ),
    DailySession(run_id="18" * 32, period="2026-10-30", status="settled", at=T0, rows=461, bits=7837),
)  # fmt: skip
DAILY = DailyView(
    agreed=250, expires=date(2100, 1, 31), scored=("2026-10-30", "2026-11-06"), taken=("2026-10-30", "2026-11-06"),
    last_at=T0 + timedelta(days=5), next_period="2026-11-13", next_due=T0 + timedelta(days=11), sessions=SESSIONS,
    rows=924, bits=15_708,
)  # fmt: skip
ENDED = DAILY.model_copy(
    update={"ended": f"{HOSTILE} has left and took its share of the weights with it", "gone": (HOSTILE,)}
)


def screen_run(named: int = 2, *, told: bool = True) -> RunView:
    """A screen that is through, with so many named products; ``told``: the coordinator heard counts."""
    left = {
        "tried": (300, 60_000), "discovered": (1, 9), "above_hurdle": (1, 9), "chosen": (0, 2 + named),
        "named": (0, named),
    }  # fmt: skip
    if not named:
        left |= {"discovered": (0, 1), "above_hurdle": (0, 1), "chosen": (0, 0)}
    counts: dict[str, Any] = {name: ScreenPassedView(alone=a, products=p) for name, (a, p) in left.items()}
    skipped = {"evaluate", "value", "export"}
    run = settled_run()
    return run.model_copy(
        update={
            "run_id": SCREEN, "purpose": "Which products move next week's return?", "series": (), "evaluation": None,
            "ic_joint": None, "ic_own": None, "t_joint": None,
            "contributions": (), "contribution_way": "", "factor": None, "pot": 0,
            "phases": tuple(
                PhaseView(name=one.name, status="skipped") if one.name in skipped else one for one in run.phases
            ),
            "openings": tuple(OpeningsView(party=p, limit=4, max_used=1) for p in PARTIES[1:]),
            "agreement": {
                "consortium": run.consortium,
                "model": {"kind": "screen", "terminals": 100, "level": 0.05, "hurdle": 3.0},
                "evaluation": {"metrics_to_coordinator": told},
            },
            "screen": ScreenView(**counts, first=77, second=77, periods=156, bits=24) if told else None,
        }
    )  # fmt: skip


def scoring_run() -> RunView:
    """A session that scored a later period of the settled run."""
    run = settled_run()
    return run.model_copy(
        update={
            "run_id": SESSION, "purpose": f"Scores of 2026-11-06 under run {run.run_id[:12]}", "series": (),
            "evaluation": None, "ic_joint": None, "ic_own": None, "t_joint": None,
            "contributions": (), "factor": None, "score_bits": 17,
            "scored_rows": 463, "agreement": run.agreement | {"scores": {"of": run.run_id, "first": "2026-11-06"}},
        }
    )  # fmt: skip
