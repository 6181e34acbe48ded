"""Formulas of a screen as columns of a sealed run: agreed, made at home by their owners alone, and worth their cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.who_learns import who_learns
from parties.cli import proposals
from parties.cli import run as entente
from parties.client import Client
from parties.demo.homes import DemoHomes
from parties.node.screen_won import kept_won
from tests.parties.node.test_screen_run import product_of_two
from tests.parties.planted_rig import Stage, staged

SEALED = """kind = "sealed"
anchor = "a"
width = 1
batch_rows = 512
warmup_steps = 10
linear_rate = 0.125
alpha = 10.0
start = 0.01
"""


def proposed(stage: Stage, folder: Path, more: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    terms = (folder / "consortium.toml").read_text().replace('kind = "screen"\nterminals = 6\n', SEALED + more)
    path = folder / "with.toml"
    terms = terms.replace("[alignment]", "[walk_forward]\nwarmup = 24\n\n[alignment]")
    path.write_text(terms.replace('"screened"\nrecipients = []', '"screened"\nrecipients = ["fund"]'))
    return stage.settled(capsys, str(path))


def mean_ic(homes: DemoHomes, run_id: str) -> float:
    with Client("", homes.admin) as client:
        return float(np.nanmean([one.ic_joint for one in client.run(run_id).series if one.ic_joint is not None]))


@pytest.mark.system
def test_a_named_product_is_a_column_that_lifts_a_sealed_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two columns move the label together only. A node that lost what its screen told it does not sign."""
    with staged(tmp_path, 60, product_of_two) as stage:
        homes = stage.homes
        screen, reason = stage.settled(capsys, str(tmp_path / "consortium.toml"))
        assert reason == ""
        report = json.loads((homes.party("fund") / "screens" / screen[:12] / "report.json").read_bytes())
        formula = max(report["named"], key=lambda row: abs(row["t_first"]))["formula"]
        products = f'\n[model.products]\nscreen = "{screen}"\nformulas = ["{formula}"]\n'
        with_it, reason = proposed(stage, tmp_path, products, capsys)
        assert reason == ""
        assert mean_ic(homes, with_it) > 0.3, "of a line, which the owners' columns alone give nothing"

        agreement = Agreement.model_validate_json((homes.party("a") / "runs" / with_it / "agreement.json").read_bytes())
        said = " ".join(who_learns(agreement)["fund"])
        assert formula in said
        assert "it can read a's half" in said
        kept = kept_won(homes.party("a") / "runs" / screen)
        assert kept is not None
        assert kept[1][0].column not in (homes.party("b") / "runs" / with_it / "agreement.json").read_text()

        won = homes.party("b") / "runs" / screen / "screen-won.json"
        won.rename(won.with_suffix(".away"))
        monkeypatch.setattr(proposals, "_FIRST_ANSWERS_SECONDS", 100.0)  # a busy machine's nodes answer late
        again = ["run", "propose", str(tmp_path / "with.toml"), "--wait", "60", "--yes", *stage.admin]
        assert entente(again) == 6
        assert "b keeps nothing of the screen" in capsys.readouterr().err
