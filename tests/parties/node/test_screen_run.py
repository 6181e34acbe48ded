"""A screen of formulas as an agreed run: proposed, signed, opened by period alone, counted, and told to the owners.

What it named becomes a column of a sealed run in the same consortium.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.cli import proposals
from parties.cli import run as entente
from parties.client import Client
from parties.node.home import NodeHome
from parties.node.screen_evidence import ScreenLabelEvidence
from parties.settings.consortium import ConsortiumSettings, load_consortium
from tests.parties.demo_rig import until
from tests.parties.planted_rig import Stage, staged

MONTHS = pd.period_range("2021-01", periods=34, freq="M")

TERMS = """
name = "screened"
recipients = []

[calendar]
frequency = "M"
first = 2021-01-01
last = 2023-10-31

[label]
name = "next"
definition = "next month's value"
query = "label.sql"
lag_days = 31

[model]
kind = "screen"
terminals = 6

[alignment]
minimum_common = 30
"""


def product_of_two(folder: Path, n: int) -> ConsortiumSettings:
    """Funds a and b, whose columns a1 and b0 only move the label together; fund c and the label party have noise."""
    rng = np.random.default_rng(4)
    grid = pd.MultiIndex.from_product(
        [MONTHS.end_time.date, [f"CO{i:03}" for i in range(n)]], names=["period", "entity"]
    )
    columns = {name: rng.normal(size=(len(MONTHS), n, width)) for name, width in (("a", 2), ("b", 2), ("fund", 1))}
    moved = columns["a"][:, :, 1] * columns["b"][:, :, 0] + rng.normal(size=(len(MONTHS), n))
    text = TERMS
    for name, values in (*columns.items(), ("label", moved[:, :, None])):
        cols = ["label"] if name == "label" else [f"{name}{i}" for i in range(values.shape[2])]
        pd.DataFrame(values.reshape(len(grid), -1), columns=cols, index=grid).to_csv(folder / f"{name}.csv")
        (folder / f"{name}.sql").write_text(
            f"SELECT entity, CAST(period AS DATE) AS period, {', '.join(cols)} FROM read_csv('${{data}}/{name}.csv')"
        )
        if name != "label":
            role = "label" if name == "fund" else "feature"
            text += (
                f'\n[[party]]\nname = "{name}"\nrole = "{role}"\nquery = "{name}.sql"\ncolumns = {json.dumps(cols)}\n'
            )
            text += 'lag_days = 0\n\n[party.terminals]\nwindows = [3]\noperators = ["difference", "mean"]\n'
    (folder / "consortium.toml").write_text(text)
    return load_consortium(folder / "consortium.toml")


SEALED = """kind = "sealed"
anchor = "a"
width = 1
batch_rows = 512
warmup_steps = 10
linear_rate = 0.125
alpha = 10.0
start = 0.01

[openings]
contribution = "none"

[walk_forward]
warmup = 28
"""


@dataclass(frozen=True)
class Screened:
    """A consortium at work whose screen has settled."""

    stage: Stage
    folder: Path
    run_id: str
    report: dict[str, Any]


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screened]:
    folder = tmp_path_factory.mktemp("screened")
    with staged(folder, 60, product_of_two) as stage, Client("", stage.homes.admin) as client:
        terms = str(folder / "consortium.toml")
        assert entente(["run", "propose", terms, "--wait", "120", "--yes", *stage.admin]) == 0
        [run] = client.runs()
        until(lambda: client.run(run.run_id).ended, "the screen's end")
        assert client.run(run.run_id).reason == ""
        report = (stage.homes.party("fund") / "screens" / run.run_id[:12] / "report.json").read_bytes()
        yield Screened(stage, folder, run.run_id, json.loads(report))


@pytest.mark.system
def test_a_planted_product_is_named_and_its_owners_read_it_in_words(
    screened: Screened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    homes, run_id, report = screened.stage.homes, screened.run_id, screened.report
    with Client("", homes.admin) as client:
        view = client.run(run_id)
        assert {phase.name for phase in view.phases if phase.status == "skipped"} == {
            "evaluate",
            "value",
            "export",
        }
        assert all(used.max_used == 1 for used in view.openings)
        assert view.score_bits == 0

    made = {"a": 6, "b": 6, "fund": 3}
    assert report["n_trials"] == 6 + 6 + (6 + 6) * 3 + 6 * 6
    assert report["chosen_on"][2] + report["confirmed_on"][2] == 33
    assert {(row["party"], row["other"]) for row in report["named"]} == {("a", "b")}
    # the coordinator heard counts, and they are the report's
    told = view.screen
    assert told is not None
    assert told.tried.all == report["n_trials"]
    assert (told.chosen.all, told.named.all) == (len(report["chosen"]), len(report["named"]))
    assert (told.named.alone, told.named.products) == (0, len(report["named"]))
    assert (told.first, told.second) == (report["chosen_on"][2], report["confirmed_on"][2])
    with (homes.party("fund") / "screens" / run_id[:12] / "formulas.csv").open() as file:
        assert len(list(csv.DictReader(file))) == report["n_trials"]
    assert not re.search(r"\b(a[0-5]|b[0-5])\b", json.dumps(report)), "no name of a column left its owner"

    for name, own in (("a", "a1"), ("b", "b0")):
        capsys.readouterr()
        assert entente(["run", "screen", run_id[:12], "--home", str(homes.party(name))]) == 0
        said = capsys.readouterr().out
        assert own in said
        assert f"{len(report['named'])} of {report['n_trials']} formulas" in said
    assert entente(["run", "screen", run_id[:12], "--home", str(homes.party("fund"))]) == 0
    assert "formulas.csv" in capsys.readouterr().out

    # an auditor: what opened are sums of the committed labels; a report with another named formula is not theirs
    files = [str(tmp_path / f"{name}.evidence") for name in ("fund", "a", "b")]
    for name, file in zip(("fund", "a", "b"), files, strict=True):
        assert entente(["audit", "evidence", run_id[:12], "--home", str(homes.party(name)), "--out", file]) == 0
    assert entente(["audit", "screen", *files]) == 0
    assert f"{report['n_trials']} formulas is what the rule makes" in " ".join(capsys.readouterr().out.split())
    forged = ScreenLabelEvidence.read(Path(files[0]))
    forged.report["named"].clear()
    (tmp_path / "forged").write_bytes(forged.packed())
    assert entente(["audit", "screen", str(tmp_path / "forged"), *files[1:]]) == 3
    assert "reports 0 formulas as named" in capsys.readouterr().err
    forged.report["named"] = 7
    (tmp_path / "forged").write_bytes(forged.packed())
    assert entente(["audit", "screen", str(tmp_path / "forged"), *files[1:]]) == 3
    assert "shows a side that cannot be replayed" in capsys.readouterr().err
    disclosure = homes.party("fund") / "runs" / run_id / "committed.npz"
    assert entente(["audit", "labels", str(disclosure), "--home", str(homes.party("a"))]) == 0

    # an owner's evidence says what opened, in bits
    pack = str(tmp_path / "pack.zip")
    assert entente(["evidence", run_id[:12], "--home", str(homes.party("a")), "--out", pack]) == 0
    assert entente(["evidence", "check", pack, "--report", str(tmp_path / "report.html")]) == 0
    said = (tmp_path / "report.html").read_text()
    assert "sums of a screen, by period" in said
    assert "screens over all runs" in said

    # every node counted for itself, before anything left it
    for name in ("a", "b"):
        with NodeHome(homes.party(name)).audit() as log:
            charges = [entry.body for entry in log.entries(run_id) if entry.kind == "opening"]
        assert len(charges) == len(MONTHS)
        assert {charge["width"] for charge in charges} == {made[name] * (1 + made["fund"] + 6)}
    agreement = Agreement.model_validate_json((homes.party("a") / "runs" / run_id / "agreement.json").read_bytes())
    text = " ".join(agreement_lines(agreement))
    assert "puts an indicator of one row in the place of its label" in text
    assert "together with the label party it would see all of them" in text
    assert "terminals" in " ".join(who_learns(agreement)["b"])


@pytest.mark.system
def test_a_named_product_is_a_column_that_lifts_a_sealed_network(
    screened: Screened, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two columns move the label together only. A node that lost what its screen told it does not sign."""
    stage, homes, screen = screened.stage, screened.stage.homes, screened.run_id
    formula = max(screened.report["named"], key=lambda row: abs(row["t_first"]))["formula"]
    products = f'\n[model.products]\nscreen = "{screen}"\nformulas = ["{formula}"]\n'
    terms = (screened.folder / "consortium.toml").read_text()
    terms = terms.replace('kind = "screen"\nterminals = 6\n', SEALED + products)
    (screened.folder / "with.toml").write_text(terms.replace("recipients = []", 'recipients = ["fund"]'))
    run_id, reason = stage.settled(capsys, str(screened.folder / "with.toml"))
    assert reason == ""
    with Client("", homes.admin) as client:
        ics = [one.ic_joint for one in client.run(run_id).series if one.ic_joint is not None]
    assert np.nanmean(ics) > 0.3, "of a network that begins as a line, which the owners' columns alone give nothing"

    agreement = Agreement.model_validate_json((homes.party("a") / "runs" / run_id / "agreement.json").read_bytes())
    said = " ".join(who_learns(agreement)["fund"])
    assert formula in said
    assert "If a or b cheats and receives the factor, it can read the other's half" in said
    assert not re.search(r"\b(a[01]|b[01])\b", agreement.model.model_dump_json()), "its numbers alone name the product"

    won = homes.party("b") / "runs" / screen / "screen-won.json"
    won.rename(won.with_suffix(".away"))
    monkeypatch.setattr(proposals, "_FIRST_ANSWERS_SECONDS", 100.0)  # a busy machine's nodes answer late
    again = ["run", "propose", str(screened.folder / "with.toml"), "--wait", "60", "--yes", *stage.admin]
    assert entente(again) == 6
    assert "b keeps nothing of the screen" in capsys.readouterr().err
