"""A whole run on people, not periods: real data, processes and encryption, and what it leaves for whoever reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from parties.cli import app
from parties.data.static_panel import drawn_into_test
from parties.settings.consortium import load_consortium
from tests.parties.demo_rig import demo

TERMS = """
name = "tumours"
recipients = ["clinic", "coordinator"]
[static]
label = "binary"
test_share = 0.3
seed = 4
[label]
name = "benign"
definition = "1 where the tumour is benign"
query = "label.sql"
[model]
kind = "sealed"
batch_rows = 256
warmup_steps = 12
[reward]
pot = 1000
risk_aversion = 0
uplift_level = 1
[[party]]
name = "lab"
role = "feature"
query = "lab.sql"
columns = [{lab}]
[[party]]
name = "clinic"
role = "label"
query = "clinic.sql"
columns = [{clinic}]
"""


def consortium(folder: Path) -> pd.DataFrame:
    """569 tumours: ten measurements of the clinic's, twenty of the lab's."""
    whole = load_breast_cancer(as_frame=True).frame
    whole.columns = [str(name).replace(" ", "_") for name in whole.columns]
    whole = whole.assign(entity=[f"patient {i:03d}" for i in range(len(whole))])
    sides = {"clinic": list(whole.columns[:10]), "lab": list(whole.columns[10:30]), "label": ["target"]}
    for name, columns in sides.items():
        whole[["entity", *columns]].to_csv(folder / f"{name}.csv", index=False)
        chosen = "entity, target AS label" if name == "label" else "*"
        (folder / f"{name}.sql").write_text(f"SELECT {chosen} FROM read_csv('${{data}}/{name}.csv')")
    listed = {name: ", ".join(f'"{column}"' for column in columns) for name, columns in sides.items()}
    (folder / "consortium.toml").write_text(TERMS.format(**listed))
    return whole


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, str]:
    folder = tmp_path_factory.mktemp("static")
    whole, out = consortium(folder), folder / "out"
    with demo(out, "--config", str(folder / "consortium.toml"), "--data", str(folder), size=()) as process:
        printed, errors = process.communicate(timeout=200)
    assert process.returncode == 0, printed + errors
    return out, whole, printed


def bundle(out: Path) -> Path:
    return next((out / "parties" / "clinic" / "factors").glob("*/*"))


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_every_test_row_has_a_score_and_no_training_row(finished: tuple[Path, pd.DataFrame, str]) -> None:
    out, whole, printed = finished
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    table = pd.read_csv(bundle(out) / "scores.csv").set_index("entity")
    terms = load_consortium(out.parent / "consortium.toml").static
    assert terms is not None
    test = drawn_into_test(list(table.index), terms)
    assert (table["part"] == "test").tolist() == table["score"].notna().tolist() == test.tolist()
    scores = table.loc[test, "score"]
    truth = dict(zip((name.upper() for name in whole["entity"]), whole["target"], strict=True))
    auc = roc_auc_score([truth[name.upper()] for name in scores.index], scores)
    measured = summary["quality"]["measures"]
    assert measured["joint"]["auc"] == pytest.approx(auc)
    assert auc > max(0.98, measured["clinic"]["auc"])
    assert summary["parity"] <= 1e-3 or summary["parity_cause"].startswith("the last bits")
    assert summary["openings"]["max_used"] == 1
    assert summary["ledger"]["balanced"]
    assert sum(summary["shapley"].values()) > 0
    assert "test rows, whose labels entered nothing" in printed
    assert "IC" not in printed


def test_what_is_shown_of_it_speaks_of_no_period(finished: tuple[Path, pd.DataFrame, str]) -> None:
    out, _, _ = finished
    shown = said("factors", "show", str(bundle(out)))
    assert "rows without" in shown
    assert "auc" in shown
    assert "Rank IC" not in shown
    assert "Scores of static data" in said("factors", "list", str(out / "parties"))
    refused = CliRunner().invoke(app, ["factors", "compare", str(bundle(out)), str(bundle(out))])
    assert "scores of static data" in str(refused.exception or refused.output)
    checked = said("data", "check", "--home", str(out / "parties" / "clinic"))
    assert "rows are in the test part" in checked
    assert "mean_radius: 0.0% missing" in checked
