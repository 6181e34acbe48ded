"""One real run with an encoder at a feature party, two horizons and a search: processes, encryption, and its twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parties.data.simulate import simulate
from tests.parties.demo_rig import demo
from vfl.factors.trials import read_trials

REPORTED = "2023-05-05"
FURTHER = '{ name = "month", periods = 3, share = 0.25, definition = "Three weeks" }'
MORE = f"""
[party.encoder]
window = 4
outputs = 2
fit_periods = 8
steps = 20
columns = ["sentiment", "mentions"]

[label.horizons.month]
query = "sql/label_month.sql"

[evaluation]
first = "{REPORTED}"

[search]
trials = 4
source_trials = 1
space = {{ top = {{ values = ["linear", "residual"] }}, top_learning_rate = {{ low = 0.001, high = 0.01, log = true }}, source_learning_rate = {{ low = 0.05, high = 0.15 }} }}
"""  # noqa: E501


def consortium(out: Path) -> tuple[Path, Path]:
    made = simulate(out, entities=40, periods=24, parties=2, model="split")
    text = made.config.read_text()
    for old, new in (
        ("embedding_width = 2", "embedding_width = 1"),
        ("limit_per_row = 5", "limit_per_row = 8"),
        ("warmup = 4", f"warmup = 4\nhorizons = [{FURTHER}]"),
    ):
        assert old in text
        text = text.replace(old, new)
    made.config.write_text(text + MORE)
    label = (made.config.parent / "sql" / "label.sql").read_text()
    month = label.replace("lead(close) OVER chain", "lead(close, 3) OVER chain")
    month = month.replace("lead(friday) OVER chain", "lead(friday, 3) OVER chain")
    (made.config.parent / "sql" / "label_month.sql").write_text(month)
    return made.config, made.data


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    config, data = consortium(folder / "sim")
    out = folder / "demo"
    with demo(out, "--config", str(config), "--data", str(data), size=()) as process:
        printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, printed + errors
    return out


def bundle(out: Path) -> Path:
    return next((out / "parties" / "fund" / "factors").glob("*/*"))


def test_it_equals_its_twin_within_the_budget(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["parity"] <= 3e-3
    agreement = json.loads((finished / "agreement.json").read_text())
    social = next(party for party in agreement["parties"] if party["name"] == "social")
    assert social["columns"][-2:] == ["enc_0", "enc_1"]
    assert social["encoder"].startswith(
        "enc_0 to enc_1: lstm encoder (masked task) over 4 periods of sentiment, mentions"
    )
    log = (finished / "logs" / "social.log").read_text()
    assert "encoder fitted on 8 periods" in log


def test_the_bundle_names_horizons_trials_and_reported_periods(finished: Path) -> None:
    folder = bundle(finished)
    factor = pd.read_parquet(folder / "factor.parquet")
    assert list(factor.columns) == ["score", "f0", "f1"]
    np.testing.assert_allclose(factor["score"], 0.75 * factor["f0"] + 0.25 * factor["f1"])
    assert factor.index.get_level_values(0).min() == pd.Timestamp(REPORTED)
    metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    assert metadata["outputs"]["f1"] == "month, 3 periods ahead, 25% of score: Three weeks"
    assert metadata["purge"] == 3
    trials = read_trials((folder / "trials.parquet").read_bytes())
    told = sorted((t.terms["search"]["stage"], t.terms["search"]["number"]) for t in trials)
    assert told == [("source", 0), *(("top", k) for k in range(4))]
    assert metadata["n_trials"] == 5
    summary = json.loads((finished / "summary.json").read_text())
    assert metadata["openings_used"] == summary["openings"]["max_used"], "the trials' openings too"
    chosen = next(t for t in trials if t.selected)
    assert min(chosen.periods) >= REPORTED
    assert all(min(t.periods) < REPORTED for t in trials if not t.selected)
    battery = json.loads((folder / "validation.json").read_text())["battery"]["numbers"]
    assert {"f0_rank_ic", "f1_rank_ic", "score_on_f0_rank_ic"} <= set(battery["horizons"])
    assert battery["search"]["n_trials"]["value"] == 5
