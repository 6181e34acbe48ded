"""``entente run score`` beside its session: what is due while a party is late, and what becomes of advice."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parties.cli import scoring
from parties.cli.runs import full_id
from parties.errors import AgreementError, ConfigError, PeerError, RunAborted
from parties.transport.to_coordinator import CoordinatorAway
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.coordinator.test_scoring_sessions import TRAINED


def advised(folder: Path, action: str) -> Path:
    path = folder / "advice.json"
    path.write_text(json.dumps({"advice": action, "reasons": ["the live rank IC is below its band"]}))
    return path


@pytest.mark.parametrize("retrain", ["advice", "never"])
def test_the_successor_is_written_where_it_was_agreed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], retrain: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert TRAINED.daily is not None
    terms = TRAINED.daily.model_copy(update={"retrain": retrain})
    trained = TRAINED.model_copy(update={"daily": terms})
    scoring._say_advice(trained, advised(tmp_path, "retrain"), tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    assert "the live rank IC is below its band" in said
    found = list(tmp_path.glob("successor-*.toml"))
    if retrain == "never":
        assert found == []
        assert "nothing is proposed" in said
        return
    [file] = found
    assert f"entente run propose {file.name} --credentials" in said
    written = tomllib.loads(file.read_text())
    assert written["calendar"]["last"] > date(2025, 6, 1).isoformat()
    assert written["daily"]["retrain"] == "advice"


def test_advice_to_keep_writes_nothing_and_another_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scoring._say_advice(TRAINED, advised(tmp_path, "keep"), tmp_path)
    assert "Advice: keep." in capsys.readouterr().out
    assert list(tmp_path.glob("successor-*")) == []
    (tmp_path / "advice.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"advice\.json: not what entente factors monitor"):
        scoring._say_advice(TRAINED, tmp_path / "advice.json", tmp_path)


def test_another_kind_is_told_what_to_propose() -> None:
    with pytest.raises(ConfigError, match=r'kind \'ridge\': propose one with model\.kind = "sealed" and \[daily\]'):
        scoring._check_kind(agreement({"kind": "ridge"}, contribution="none"))


def test_late_data_of_one_period_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One look of --watch: the first period is refused, the second is scored; where all ended, the command ends."""
    tried: list[str] = []

    def score(client: Any, trained: Any, nodes: Any, period: str, valid: str) -> None:
        tried.append(period)
        if period == "2025Q3":
            raise RunAborted("2025Q3 is not scored: b's data is not complete yet")

    monkeypatch.setattr(scoring, "_due", lambda client, trained: ("2025Q3", "2025Q4"))
    monkeypatch.setattr(scoring, "_score", score)
    scoring._score_due(_knows(""), TRAINED, {}, "1h")
    assert tried == ["2025Q3", "2025Q4"]
    assert "b's data is not complete yet" in capsys.readouterr().out

    def ended(client: Any, trained: Any) -> tuple[str, ...]:
        raise AgreementError("no new period is due")

    monkeypatch.setattr(scoring, "_due", ended)
    scoring._score_due(_knows(""), TRAINED, {}, "1h")
    assert "no new period is due" in capsys.readouterr().out
    with pytest.raises(AgreementError, match="no new period"):
        scoring._score_due(_knows("all 2 agreed periods were scored"), TRAINED, {}, "1h")


def test_a_coordinator_that_is_away_is_asked_in_the_next_look(capsys: pytest.CaptureFixture[str]) -> None:
    """What is no absence ends the command."""
    answers: list[Exception] = [
        CoordinatorAway("the coordinator at h:1 cannot be reached"),
        PeerError("not understood"),
    ]

    def parties() -> Any:
        raise answers.pop(0)

    home = Path(__file__).parent
    client: Any = SimpleNamespace(parties=parties)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("parties.members.roster.Roster.load", lambda path: SimpleNamespace(member=lambda name: None))
        scoring._look(client, TRAINED, home, "1h")
        assert "cannot be reached; it is asked again in the next look" in capsys.readouterr().out
        with pytest.raises(PeerError, match="not understood"):
            scoring._look(client, TRAINED, home, "1h")


def test_a_coordinator_that_goes_away_during_a_session_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The session goes on at the nodes: the command says so once each time, and then what became of it."""
    away = CoordinatorAway("the coordinator at h:1 cannot be reached")
    daily = SimpleNamespace(scored=("2025Q3",), agreed=2, expires=date(2027, 1, 1))
    running, ended = (SimpleNamespace(ended=over, status="settled", daily=daily) for over in (False, True))
    answers: list[Any] = [running, away, away, running, ended, away, ended]

    def answer(run_id: str) -> Any:
        if isinstance(found := answers.pop(0), Exception):
            raise found
        return found

    monkeypatch.setattr("parties.proposing.scoring.scoring_of", lambda *_: TRAINED)
    monkeypatch.setattr(scoring, "_POLL_SECONDS", 0.0)
    client: Any = SimpleNamespace(propose=lambda agreement: "ab" * 32, run=answer)
    scoring._score(client, TRAINED, {}, "2025Q3", "1h")
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("cannot be reached. It is asked again until it answers") == said.count("answers again") == 2
    assert "2025Q3 is scored in" in said
    assert answers == []


def test_a_run_is_found_by_its_first_characters_however_many_came_after_it() -> None:
    """Sessions of daily use are runs too."""
    ids = [f"{number:064x}" for number in range(2000)]

    def runs(limit: int, offset: int) -> list[Any]:
        return [SimpleNamespace(run_id=one) for one in ids[offset : offset + limit]]

    client: Any = SimpleNamespace(runs=runs)
    assert full_id(client, ids[1999]) == ids[1999]
    with pytest.raises(ConfigError, match="16 runs begin with"):
        full_id(client, ids[1999][:-1])
    with pytest.raises(ConfigError, match="no run begins with 'ff'"):
        full_id(client, "ff")


def _knows(ended: str) -> Any:
    """A coordinator's answer about the run."""
    return SimpleNamespace(run=lambda run_id: SimpleNamespace(daily=SimpleNamespace(ended=ended)))
