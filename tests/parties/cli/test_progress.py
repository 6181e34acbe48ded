"""How fast a phase goes, in the terminal, and lines where there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from rich.console import Console

from parties.calls.run_parts import FederatedView, RoundsView
from parties.calls.views import PhaseView, ProgressView, RunView
from parties.errors import PeerError
from parties.terminal import progress
from parties.terminal.progress import ProgressLines, ProgressScreen, followed, speed
from parties.transport.to_coordinator import CoordinatorAway

T0 = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("per_second", "unit", "said"),
    [
        (4523.4, "rows", "4,523 rows/s"),
        (1.0, "trees", "1 trees/s"),
        (0.2, "trees", "5.0 s a tree"),
        (0.5, "sum tables", "2.0 s a sum table"),
    ],
)
def test_less_than_one_in_a_second_is_told_in_seconds_of_one(per_second: float, unit: str, said: str) -> None:
    assert speed(per_second, unit) == said


def test_a_federated_run_is_as_far_as_its_coordinator_and_says_who_is_in_its_rounds() -> None:
    parts = [ProgressView(party=p, phase="train", done=n, total=9, unit="rounds", at=T0)
             for p, n in (("coordinator", 5), ("east", 2), ("north", 5))]  # fmt: skip
    found = FederatedView(
        rounds=9, members=("north", "south", "east", "west"), threshold=3, dropped=("east",), noise=2.0, delta=1e-5,
        stretches=(RoundsView(first=1, last=5, members=("north", "south", "west"), missed=("east",)),),
        spent={"north": 3.614}, agreed_epsilon=6.0, missed=True,
    )  # fmt: skip
    phase = PhaseView(name="train", status="running", started_at=T0, progress=tuple(parts))
    view = RunView(run_id="ab" * 32, consortium="regions", purpose="", status="aligned", phase="train", proposed_at=T0,
                   phases=(phase,), federated=found)  # fmt: skip
    written = StringIO()
    with ProgressScreen(Console(file=written, force_terminal=True, width=200)) as screen:
        screen.show(view)
    assert "5/9 rounds, 3 members, without east, epsilon at least 3.61 at delta 1e-05" in written.getvalue()


def test_a_line_that_says_nothing_new_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    out, now = StringIO(), T0
    monkeypatch.setattr(progress, "_EVERY_SECONDS", -1.0)
    lines = ProgressLines(Console(file=out, width=100))
    for done in (0, 0, 1, 1, 1, 2):
        state = ProgressView(party="a", phase="train", done=done, total=3, unit="sum tables", at=now) if done else None
        phase = PhaseView(name="train", status="running", progress=(state,) if state else ())
        lines.show(
            RunView(run_id="0" * 64, consortium="c", purpose="", status="aligned", proposed_at=now, phases=(phase,))
        )
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "train     running",
        "train     running  1/3 sum tables",
        "train     running  2/3 sum tables",
    ]


def test_a_phase_that_began_anew_is_told_with_its_attempts() -> None:
    """Its rows are those of all attempts, and so are its seconds."""
    out = StringIO()
    rows = ProgressView(party="a", phase="train", done=8000, total=8000, unit="rows", at=T0)
    phases = [
        PhaseView(name=name, status="done", attempt=attempt, started_at=T0, ended_at=T0 + timedelta(seconds=90),
                  progress=(rows,)) for name, attempt in (("train", 1), ("value", 2))
    ]  # fmt: skip
    ProgressLines(Console(file=out, width=100)).show(
        RunView(run_id="0" * 64, consortium="c", purpose="", status="settled", proposed_at=T0, phases=tuple(phases))
    )
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "train     done     90.0 s, 8,000 rows",
        "value     done     90.0 s in 2 attempts, 8,000 rows",
    ]


def test_a_coordinator_that_goes_away_is_waited_for_and_that_is_said_once() -> None:
    """It goes twice; whatever is no absence ends the watch."""
    out = StringIO()
    running = RunView(run_id="0" * 64, consortium="c", purpose="", status="aligned", proposed_at=T0, phases=())
    ended = running.model_copy(update={"status": "settled"})
    away = CoordinatorAway("the coordinator at h:1 cannot be reached: check the address, and that it runs")
    answers: list[RunView | Exception] = [running, away, away, running, away, ended]
    pauses: list[int] = []

    def read() -> RunView:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    lines = ProgressLines(Console(file=out, width=200))
    assert followed(read, lines, lambda: pauses.append(1)) is ended
    said = out.getvalue()
    assert said.count("cannot be reached") == said.count("answers again, after") == 2
    assert said.index("cannot be reached") < said.index("answers again")
    assert len(pauses) == 5
    answers.append(PeerError("the coordinator's answer is not understood", "coordinator"))
    with pytest.raises(PeerError, match="not understood"):
        followed(read, lines, lambda: None)
