"""Processes that die in the middle: one clear message that names who, a failing exit code, and nothing left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from parties.client import Client
from parties.demo.homes import DemoHomes
from parties.demo.processes import Child
from tests.parties.demo_rig import PATIENCE, alive, demo, logged, pids_of, until

pytestmark = pytest.mark.system

LONG = ("--entities", "300", "--periods", "60", "--parties", "2", "--model", "split")
PARTIES = {"fund", "satellite", "social"}


_LONG = pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")


@pytest.mark.parametrize("victim", ["satellite", pytest.param("fund", marks=_LONG)])
def test_a_party_killed_in_training_ends_the_run_for_everyone(tmp_path: Path, victim: str) -> None:
    out = tmp_path / "out"
    with demo(out, size=LONG) as process:
        until(lambda: _rows_trained(out) > 0, "training")
        os.kill(pids_of(out)[victim], signal.SIGKILL)
        said, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == 6
        assert alive(pids_of(out)) == set()
    [line] = complaints.splitlines()
    assert line.startswith(f"error: the run ended in train: {victim}'s process was killed by signal 9")
    assert not (out / "summary.json").exists()
    for name in PARTIES - {victim}:
        ends = [line for line in (out / "logs" / f"{name}.log").read_text().splitlines() if "has ended:" in line]
        assert len(ends) == 1, f"{name} was told {len(ends)} times"
        assert victim in ends[0]
    assert f"{victim}'s process was killed" in said


def _rows_trained(out: Path) -> int:
    """How far the label party has come in training, as the coordinator shows it."""
    if not logged(out, "fund", "train begins")():
        return 0
    with Client("", DemoHomes.load(out).admin) as client:
        view = client.run(client.runs()[0].run_id)
    phase = next(phase for phase in view.phases if phase.name == "train")
    return max((progress.done for progress in phase.progress), default=0)


def test_a_killed_coordinator_ends_the_demo(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with demo(out, size=LONG) as process:
        until(logged(out, "satellite", "train begins"), "training")
        os.kill(pids_of(out)["coordinator"], signal.SIGKILL)
        _, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == 6
        assert alive(pids_of(out)) == set()
    [line] = complaints.splitlines()
    assert "coordinator's process was killed by signal 9" in line


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGKILL, -signal.SIGKILL),
        pytest.param(signal.SIGTERM, 143, marks=_LONG),
    ],
)
def test_no_process_outlives_the_demo(tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "out"
    with demo(out, size=LONG) as process:
        until(logged(out, "satellite", "train begins"), "training")
        pids = pids_of(out)
        assert alive(pids) == PARTIES | {"coordinator"}
        process.send_signal(number)
        _, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == code
        until(lambda: alive(pids) == set(), "every process to leave")
    assert complaints.splitlines() in ([], ["stopped"])
    assert not (out / "summary.json").exists()


def test_a_party_whose_data_is_broken_is_named_with_its_own_reason(tmp_path: Path) -> None:
    out = tmp_path / "out"
    from parties.data.simulate import simulate

    made = simulate(tmp_path / "data", entities=40, periods=16, parties=2, seed=2, model="split")
    query = made.config.parent / "sql" / "social.sql"
    query.write_text(query.read_text().replace("company AS entity", "company AS firm"))
    with demo(out, "--config", str(made.config), "--data", str(made.data), size=()) as process:
        _, complaints = process.communicate(timeout=PATIENCE)
        assert process.returncode == 6
        assert alive(pids_of(out)) == set()
    [line] = complaints.splitlines()
    assert line.startswith("error: the run ended in approve: social")
    assert "social.sql: column 'entity' is missing from the result" in line
    for name in PARTIES - {"social"}:
        assert "column 'entity'" not in (out / "logs" / f"{name}.log").read_text(), "a party's detail stays at home"


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    child = Child("satellite", ["party", "start", "--home", str(tmp_path / "nowhere")], tmp_path / "satellite.log")
    try:
        child.process.wait(PATIENCE)
        assert child.ended() == 2
        assert child.how_it_ended() == "ended with exit code 2"
        assert child.own_reason() == f"{tmp_path / 'nowhere'}: no such folder; name the node's home"
    finally:
        child.close()
