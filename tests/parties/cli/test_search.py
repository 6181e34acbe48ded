"""``entente run search``: what the budget allows is shown, then signed terms are proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parties.agreement.document import Agreement
from parties.calls.views import PartyView
from parties.cli import run
from parties.errors import ConfigError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.placebo import placebo_of

TERMS = """
name = "c"
purpose = "p"
[calendar]
frequency = "Q"
first = 2020-01-01
last = 2021-12-31
[label]
name = "y"
definition = "y"
[openings]
limit_per_row = 6
contribution = "none"
[model]
embedding_width = 1
epochs = 1
[[party]]
name = "bank"
[[party]]
name = "a"
[[party]]
name = "b"
"""


class Fake:
    """A coordinator that keeps what is proposed to it."""

    proposed: list[Agreement]

    def __init__(self, members: Roster) -> None:
        self.proposed = []
        columns = {"bank": ("own",), "a": tuple("abcdef"), "b": tuple("ghijkl")}
        self._views = tuple(
            PartyView(
                name=name, role="label" if name == "bank" else "feature", columns=columns[name], label_name="y",
                label_definition="y", address="h:1", identity_key=members[name].identity_key,
                certificate_sha256=members[name].certificate_sha256,
            )
            for name in columns
        )  # fmt: skip

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def parties(self) -> tuple[PartyView, ...]:
        return self._views

    def propose(self, agreement: Agreement) -> str:
        self.proposed.append(agreement)
        return agreement.run_id


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Fake, Path]:
    names = (COORDINATOR, "bank", "a", "b")
    roster = Roster({name: create_identity(name, tmp_path / name).member("h:1") for name in names})
    roster.save(tmp_path / "roster.json")
    fake = Fake(roster)
    monkeypatch.setattr("parties.cli.searching.connect", lambda *_: fake)
    (tmp_path / "terms.toml").write_text(TERMS)
    return fake, tmp_path


def search(folder: Path, *options: str) -> int:
    return run(["run", "search", str(folder / "terms.toml"), "--credentials", str(folder), "--yes", *options])


def test_it_shows_the_budget_and_proposes_what_is_signed(
    desk: tuple[Fake, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fake, folder = desk
    assert search(folder, "--trials", "9", "--report-from", "2021Q1") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "top_learning_rate" in printed
    assert "the source layer" in printed
    assert "A row may be opened 6 times in all." in printed
    assert "9 top models over hidden, ic_weight, top, top_learning_rate, weight_decay" in printed
    (agreement,) = fake.proposed
    assert agreement.search is not None
    assert (agreement.search.trials, agreement.search.source_trials) == (9, 0)
    assert agreement.evaluation.first == "2021Q1"
    assert agreement.possible_source_trials == 2


def test_what_cannot_be_searched_is_one_sentence(desk: tuple[Fake, Path], capsys: pytest.CaptureFixture[str]) -> None:
    fake, folder = desk
    for options, why in (
        ((), "name the first reported period with --report-from"),
        (("--report-from", "2030Q1"), "name that period"),
        (("--report-from", "2021Q1", "--source-trials", "1"), "source_learning_rate"),
    ):
        assert search(folder, *options) != 0
        assert why in " ".join(capsys.readouterr().err.split())
    space = "[search.space.source_learning_rate]\nlow = 0.05\nhigh = 0.2\n[search.space.hidden]\nlow = 2\nhigh = 8\n"
    (folder / "terms.toml").write_text(TERMS + '[evaluation]\nfirst = "2021Q1"\n' + space)
    assert search(folder, "--source-trials", "3") != 0
    assert "allows 2 trials" in " ".join(capsys.readouterr().err.split())
    assert fake.proposed == []
    assert search(folder, "--source-trials", "2") == 0
    assert fake.proposed[0].search_openings == 4


def test_a_searched_run_has_no_placebo_run(desk: tuple[Fake, Path]) -> None:
    fake, folder = desk
    assert search(folder, "--report-from", "2021Q1") == 0
    agreement = fake.proposed[0]
    with pytest.raises(ConfigError, match="searched for its model"):
        placebo_of(agreement, {}, agreement.proposed_at, agreement.expires_at - agreement.proposed_at)
