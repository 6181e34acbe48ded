"""``entente run search``: what the budget allows is shown, then signed terms are proposed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.document import Agreement
from parties.calls.views import PartyView
from parties.cli import run
from parties.errors import ConfigError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.placebo import placebo_of
from vfl.walk.configurations import Configuration, SealedSearchTerms

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

    def run(self, run_id: str) -> Any:
        return SimpleNamespace(run_id=run_id, status="approved", ended=False, reason="", waiting_for=())


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
    assert agreement.split_search is not None
    assert (agreement.split_search.trials, agreement.split_search.source_trials) == (9, 0)
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


SEALED = TERMS.replace("embedding_width = 1\nepochs = 1", 'kind = "sealed"\nanchor = "a"')


def test_a_sealed_run_is_proposed_with_the_very_configurations_that_it_tries(
    desk: tuple[Fake, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    fake, folder = desk
    (folder / "terms.toml").write_text(SEALED)
    assert search(folder, "--trials", "5", "--report-from", "2021Q1") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "as agreed" in printed
    assert "Each opens two numbers for each predicted period before 2021Q1, and no score." in printed
    assert "the numbers of 5 trials, of 6 left" in printed
    assert search(folder, "--trials", "5", "--report-from", "2021Q1") == 0
    first, again = (one.search for one in fake.proposed)
    assert isinstance(first, SealedSearchTerms)
    assert first == again
    assert first.configurations[0] == Configuration()
    assert len({*fake.proposed[0].configurations}) == 5
    for model in fake.proposed[0].configurations:
        assert model.anchor == "a"
        assert (model.width, model.steps) in {(w, s) for w in (2, 4, 8) for s in (1, 2)}
        assert 300 <= model.alpha <= 3000
    check_arithmetic(fake.proposed[0])


def test_a_file_may_list_the_configurations_or_say_what_to_draw_them_from(desk: tuple[Fake, Path]) -> None:
    fake, folder = desk
    listed = "[[search.configurations]]\nwidth = 2\n[[search.configurations]]\nwidth = 8\nsteps = 2\n"
    (folder / "terms.toml").write_text(SEALED + listed)
    assert search(folder, "--report-from", "2021Q1") == 0
    assert [(model.width, model.steps) for model in fake.proposed[0].configurations] == [(2, 1), (8, 2)]
    space = "[search]\ntrials = 4\nseed = 1\n[search.space.linear_rate]\nlow = 0.01\nhigh = 0.2\n"
    (folder / "terms.toml").write_text(SEALED + space + "[search.space.width]\nlow = 2\nhigh = 3\n")
    assert search(folder, "--report-from", "2021Q1") == 0
    rates = {model.linear_rate for model in fake.proposed[1].configurations}
    assert rates <= {2.0**-6, 2.0**-5, 2.0**-4, 2.0**-3}
    assert {model.width for model in fake.proposed[1].configurations[1:]} <= {2, 3}


def test_trials_may_all_cost_the_same_so_that_fewer_steps_go_with_a_greater_width(desk: tuple[Fake, Path]) -> None:
    fake, folder = desk
    base = SEALED.replace('kind = "sealed"', 'kind = "sealed"\nwidth = 5\nsteps = 2\nwarmup_steps = 12')
    space = "[search]\ntrials = 4\nsame_cost = true\n[search.space.width]\nvalues = [2, 3, 5, 11]\n"
    (folder / "terms.toml").write_text(base + space)
    assert search(folder, "--report-from", "2021Q1") == 0
    drawn = {model.width: (model.warmup_steps, model.steps) for model in fake.proposed[0].configurations}
    assert drawn == {2: (24, 4), 3: (18, 3), 5: (12, 2), 11: (6, 1)}


@pytest.mark.parametrize(
    ("table", "options", "why"),
    [
        ("", ("--source-trials", "2"), "a sealed network has no source layer to try"),
        ("", ("--trials", "7"), "list fewer search.configurations, or raise it"),
        ("[search.space.width]\nvalues = [4, 5]\n", ("--trials", "3"), "search.space has 2 configurations"),
        ("[search.space.hidden]\nvalues = [4, 5]\n", (), "search.space names ['hidden']"),
        ("[search.space.linear_rate]\nlow = 0.26\nhigh = 0.3\n", (), "has no power of two from 0.26 to 0.3"),
        ("[search.space.width]\nvalues = ['a']\n", (), "values are numbers"),
        ("[search]\nsame_cost = true\n[search.space.start]\nvalues = [0.1]\n", (), "name width in search.space"),
        ("[[search.configurations]]\nwidth = 4\n[[search.configurations]]\n", (), "number 2 is number 1 once more"),
        ("[[search.configurations]]\nsquare_rate = 0.3\n", (), "number 1: model.square_rate: a rate is a power of two"),
        ("[[search.configurations]]\nwidth = 2\n", ("--trials", "3"), "leave --trials out, or the list"),
    ],
)
def test_what_cannot_be_tried_of_a_sealed_network_is_one_sentence(
    desk: tuple[Fake, Path], capsys: pytest.CaptureFixture[str], table: str, options: tuple[str, ...], why: str
) -> None:
    fake, folder = desk
    (folder / "terms.toml").write_text(SEALED + table)
    assert search(folder, "--report-from", "2021Q1", *options) != 0
    assert why in " ".join(capsys.readouterr().err.split())
    assert fake.proposed == []
