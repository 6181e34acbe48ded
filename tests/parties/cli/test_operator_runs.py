"""A party's node: true answers about runs that wait, have ended, or were refused; and help that is whole."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.agreement.document import Agreement
from parties.cli import run
from parties.data.simulate import simulate
from parties.demo.homes import lay_out
from parties.errors import RunAborted
from parties.node.decisions import decisions
from parties.node.run_ends import RunEnd, forget_end, keep_end, kept_end, runs_without_end
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[Path, Agreement]:
    """A node's folder with an agreement that waits for its operator, as the node writes it."""
    made = simulate(tmp_path / "data", entities=40, periods=12, parties=2, seed=7)
    settings = load_consortium(made.config)
    place = lay_out(tmp_path / "out", settings, made.config.parent, made.data, 7)
    agreement = agreement_of(settings, place.roster, datetime.now(UTC), timedelta(minutes=5))
    home = place.party("satellite")
    put(home, agreement)
    return home, agreement


def put(home: Path, agreement: Agreement) -> Path:
    folder = home / "runs" / agreement.run_id
    folder.mkdir(parents=True)
    (folder / "agreement.json").write_bytes(agreement.canonical())
    return folder


def listed(home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(["run", "waiting", "--home", str(home)]) == 0
    return capsys.readouterr().out


def test_what_waits_is_named_with_the_command_that_reads_it(
    waiting: tuple[Path, Agreement], capsys: pytest.CaptureFixture[str]
) -> None:
    home, agreement = waiting
    said = listed(home, capsys)
    assert "waits for you" in said
    assert f"entente run review {agreement.run_id[:12]} --home {home}" in said
    capsys.readouterr()
    assert run(["run", "approve", agreement.run_id[:8], "--home", str(home), "--yes"]) == 0
    said = capsys.readouterr().out
    assert "approved" in listed(home, capsys)
    lines = said.splitlines()
    assert len(lines) < 20, "who says yes beforehand has read it"
    assert lines[:4] == [
        f"Run {agreement.run_id}",
        f"Purpose: {agreement.purpose}",
        f"Over: {agreement.periods[0]} to {agreement.periods[-1]}, 12 periods",
        f"Model: {agreement.model.kind}",
    ]
    assert "signed no agreement with these parties before" in said
    assert f"Read it whole: entente run review {agreement.run_id[:12]} --home {home}" in said


def test_who_is_asked_reads_every_term_first(
    waiting: tuple[Path, Agreement], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, agreement = waiting
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run(["run", "approve", agreement.run_id[:8], "--home", str(home)]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) > 60
    assert "Nothing was decided: the run waits" in said


def test_nothing_is_signed_once_a_run_has_ended(
    waiting: tuple[Path, Agreement], capsys: pytest.CaptureFixture[str]
) -> None:
    home, agreement = waiting
    folder = home / "runs" / agreement.run_id
    assert runs_without_end(home) == [agreement.run_id], "asked for when the node is back: it may have been away"
    keep_end(home, agreement.run_id, RunEnd(status="aborted", reason="web rejected: no", at=datetime.now(UTC)))
    assert runs_without_end(home) == []
    for words in (["approve", "--yes"], ["reject", "--why", "late"]):
        assert run(["run", words[0], agreement.run_id, "--home", str(home), *words[1:]]) == RunAborted.exit_code
        said = capsys.readouterr().err
        assert "has ended: aborted, web rejected: no; nothing was decided" in said
    assert decisions(folder) == ()
    assert "web rejected: no" in listed(home, capsys)
    forget_end(folder)
    assert kept_end(folder) is None


def test_an_offer_that_has_run_out_is_not_signed(
    waiting: tuple[Path, Agreement], capsys: pytest.CaptureFixture[str]
) -> None:
    home, agreement = waiting
    late = agreement.model_copy(update={"expires_at": datetime.now(UTC) - timedelta(seconds=1)})
    put(home, late)
    assert run(["run", "approve", late.run_id, "--home", str(home), "--yes"]) == RunAborted.exit_code
    assert "ask the admin to propose it again" in capsys.readouterr().err
    assert "expired" in listed(home, capsys)


def test_why_this_node_refused_outlives_the_run(
    waiting: tuple[Path, Agreement], capsys: pytest.CaptureFixture[str]
) -> None:
    home, _ = waiting
    refused = "ab" * 32
    now = datetime.now(UTC)
    keep_end(home, refused, RunEnd(status="refused", reason="column 'visits' is text", at=now, purpose="Joint ridge"))
    keep_end(home, refused, RunEnd(status="aborted", reason="sat rejected", at=now))
    said = listed(home, capsys)
    assert "column 'visits' is text" in said
    assert "sat rejected" not in said
    keep_end(home, "cd" * 32, RunEnd(status="aborted", reason="web rejected: no", at=now))
    assert re.search(r"cdcdcdcdcdcd .* aborted +- +web rejected: no", listed(home, capsys)), "no purpose is known"
    assert run(["run", "review", refused[:8], "--home", str(home)]) != 0
    assert "this node refused it: column 'visits' is text" in capsys.readouterr().err


def test_a_folder_that_is_no_nodes_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("waiting", "list", "approve"):
        words = ["ab"] if command == "approve" else []
        assert run(["run", command, *words, "--home", str(tmp_path / "nodex")]) != 0
        assert "is no node's folder" in capsys.readouterr().err


def test_help_names_every_command_under_who_uses_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-h"]) == 0
    said = capsys.readouterr().out
    assert "Others" not in said, "a command without a heading"
    assert "..." not in said.replace("[ARGS]...", ""), "a summary that is cut"
    assert run(["--version"]) == 0
    assert "Python 3." in capsys.readouterr().out
