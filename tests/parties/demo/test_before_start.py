"""What a demo says before it starts anything, and after one of its processes was killed."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parties.agreement.terms import AlignmentTerms
from parties.cli import run
from parties.data.named_files import absent
from parties.data.security_list import read_security_list
from parties.data.simulate import simulate
from parties.demo.compare import Pooled
from parties.demo.homes import lay_out
from parties.demo.processes import Processes
from parties.demo.run import DemoOptions, again, not_compared, remedy
from parties.errors import ConfigError
from parties.names import NO_PARTIES
from parties.node.settings import load_node_settings
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from tests.places import ROOT
from vfl.terms import SealedModel


def test_what_is_not_there_is_said_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = simulate(tmp_path / "sim", entities=20, periods=12, parties=2, seed=1, model="sealed")
    settings = load_consortium(made.config)
    party = next(one for one in settings.party if one.role == "feature")
    assert not absent(party, None, made.config.parent, made.data)
    query = made.config.parent / party.query
    query.unlink()
    out = tmp_path / "out"
    command = ["demo", "--config", str(made.config), "--out", str(out)]
    assert run([*command, "--data", str(made.data)]) == 2
    said = capsys.readouterr().err
    assert f"party {party.name}: {query}: no such file; mend query, which names it" in said
    assert run([*command, "--data", str(tmp_path / "nowhere")]) == 2
    assert "no such" in capsys.readouterr().err
    assert not out.exists()
    label = settings.label
    assert label is not None
    told = absent(party, label.model_copy(update={"query": "gone.sql"}), made.config.parent, tmp_path / "nowhere")
    assert [words.partition("; ")[2] for words in told] == [
        "mend query, which names it", "mend label.query, which names it", "name an existing folder",
    ]  # fmt: skip


def test_why_no_run_in_the_clear_is_made_tells_drawn_rows_from_zeros() -> None:
    features = [SimpleNamespace(name=name) for name in ("east", "west")]

    def said(policy: str, *groups: tuple[str, tuple[str, ...]]) -> str:
        made = [SimpleNamespace(absent=absent, members=members) for absent, members in groups]
        terms: Any = SimpleNamespace(
            alignment=AlignmentTerms.model_validate({"policy": policy}),
            groups=made,
            features=features,
            model=SealedModel(),
        )
        return not_compared(terms)

    assert said("psi") == ""
    assert said("union").startswith("Rows that a party does not cover are drawn by its secret seed: no run")
    assert said("union", ("drawn", ("east", "west"))) == said("union")
    assert "secret seed, and members west serve zeros for rows that they do not cover: no run" in said(
        "union", ("zeros", ("west",))
    )
    every = said("union", ("zeros", ("east", "west")))
    assert every.startswith("The members east, west serve zeros for rows")
    assert "drawn" not in every


@pytest.mark.parametrize("kept", sorted(NO_PARTIES))
def test_a_party_has_no_name_that_the_coordinator_needs(tmp_path: Path, kept: str) -> None:
    made = simulate(tmp_path, entities=20, periods=12, parties=2, seed=1, model="sealed")
    text = made.config.read_text(encoding="utf-8")
    made.config.write_text(text.replace('"satellite"', f'"{kept}"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"no party can be called '{kept}', which the coordinator needs itself"):
        load_consortium(made.config)


def test_every_node_has_the_public_list_that_is_agreed(tmp_path: Path) -> None:
    example = (ROOT / "examples" / "group_encoder" / "consortium.toml").read_text(encoding="utf-8")
    listed = 'policy = "universe"\nuniverse_sha256 = "' + "ab" * 32 + '"'
    text = example.replace('policy = "union"', listed).replace("size_bucket = 16", "")
    (tmp_path / "consortium.toml").write_text(text, encoding="utf-8")
    settings = load_consortium(tmp_path / "consortium.toml")
    with pytest.raises(ConfigError, match=r"put universe\.csv, a CSV with a column entity"):
        lay_out(tmp_path / "without", settings, tmp_path, tmp_path, 3)
    (tmp_path / "universe.csv").write_text("entity\nnorth000\n", encoding="utf-8")
    homes = lay_out(tmp_path / "with", settings, tmp_path, tmp_path, 3)
    nodes = [load_node_settings(homes.party(party.name) / "node.toml") for party in settings.party]
    assert {node.universe for node in nodes} == {str(tmp_path / "universe.csv")}


def test_over_a_public_list_a_demo_compares_rows_that_nobody_has_too(tmp_path: Path) -> None:
    """The factor has every listed row, where over a union it has the label party's."""
    made = simulate(tmp_path / "sim", entities=20, periods=12, parties=2, seed=1, model="sealed")
    listed = made.config.parent / "universe.csv"
    listed.write_text("\n".join(("entity", *made.truth["common"], "NOBODY")), encoding="utf-8")
    digest = read_security_list(listed).digest.hex()
    text = made.config.read_text(encoding="utf-8")
    text = text.replace('policy = "psi"', f'policy = "universe"\nuniverse_sha256 = "{digest}"')
    made.config.write_text(text, encoding="utf-8")
    settings, out = load_consortium(made.config), tmp_path / "out"
    homes = lay_out(out, settings, made.config.parent, made.data, 7)
    agreement = agreement_of(settings, homes.roster, datetime.now(UTC))
    (out / "agreement.json").write_bytes(agreement.canonical())
    pooled = Pooled.load(out)
    assert set(pooled.entities) == {*made.truth["common"], "NOBODY"}
    assert not pooled.panels["social"].covered[:, pooled.entities.index("NOBODY")].any()


def test_a_killed_process_is_followed_by_the_command_that_goes_on(tmp_path: Path) -> None:
    options = DemoOptions(out=tmp_path / "my demo", periods=52, check_parity=False)
    assert again(options) == f"entente demo --out '{tmp_path}/my demo' --periods 52 --no-check-parity"
    assert again(DemoOptions()) == "entente demo"
    with Processes(tmp_path) as processes:
        child = processes.start("sat", "party", "start", "--home", str(tmp_path))
        child.signal(signal.SIGKILL)
        assert processes.wait(["sat"], 20)
    log = tmp_path / "sat.log"
    assert remedy(child, "entente demo") == (
        f"it may have had too little memory: make room; its log is {log}; run it again with entente demo"
    )
