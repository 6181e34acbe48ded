"""A whole federated run: members with the same columns and entities of their own, real processes, a settled ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.parties.demo_rig import demo

MEMBERS = ("north", "south", "east")
MONTHS = pd.period_range("2020-01", periods=16, freq="M").end_time.date

TERMS = """
name = "regions"
[calendar]
frequency = "M"
first = 2020-01-01
last = 2021-04-30
[label]
name = "y"
definition = "next month's value"
query = "north_label.sql"
lag_days = 31
[alignment]
minimum_common = 10
[model]
kind = "federated"
hidden = 0
rounds = 4
learning_rate = 0.05
[walk_forward]
warmup = 4
[evaluation]
first = "2020-09"
[reward]
pot = 1000
rows = "any"
risk_aversion = 0
uplift_level = 1
"""


def consortium(folder: Path) -> None:
    rng, text = np.random.default_rng(3), TERMS
    grid = pd.MultiIndex.from_product([MONTHS, range(12)], names=["period", "entity"])
    for place, name in enumerate(MEMBERS):
        frame = pd.DataFrame(rng.normal(size=(len(grid), 6)), columns=list("abcdef"), index=grid)
        frame["label"] = frame.sum(axis=1) / 2 + rng.normal(size=len(grid)) * 2
        frame = frame.reset_index()
        frame["entity"] = name + frame["entity"].astype(str)
        frame.to_csv(folder / f"{name}.csv")
        for suffix, columns in (("", "a, b, c, d, e, f"), ("_label", "label")):
            query = f"SELECT entity, period, {columns} FROM read_csv('${{data}}/{name}.csv')"
            (folder / f"{name}{suffix}.sql").write_text(query)
        text += f'\n[[party]]\nname = "{name}"\nrole = "{"feature" if place else "label"}"\nquery = "{name}.sql"\n'
        text += 'columns = ["a", "b", "c", "d", "e", "f"]\nlag_days = 0\n'
        text += f'label_query = "{name}_label.sql"\nlabel_lag_days = 31\n' if place else ""
    (folder / "consortium.toml").write_text(text)


@pytest.mark.system
def test_members_train_one_model_are_paid_for_it_and_keep_their_own_scores(tmp_path: Path) -> None:
    consortium(tmp_path)
    out = tmp_path / "out"
    with demo(out, "--config", str(tmp_path / "consortium.toml"), "--data", str(tmp_path), size=()) as process:
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, printed + errors
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    assert summary["parity"] < 1e-6
    assert summary["ic"]["joint"] > 0.2
    assert summary["ledger"]["balanced"]
    assert set(summary["shapley"]) == {"south", "east"}
    sent = summary["bytes_by_message_type"]
    assert {"fed.part", "fed.key", "fed.unmask"} <= set(sent["east"])
    assert {"fed.total", "fed.members"} <= set(sent["coordinator"])
    assert not any(kind.startswith(("export.", "align.", "fed.plain")) for kinds in sent.values() for kind in kinds)
    for name in MEMBERS:
        [bundle] = (out / "parties" / name / "factors").glob("*/*")
        held = pd.read_parquet(bundle / "factor.parquet").index.get_level_values(1)
        assert all(str(entity).lower().startswith(name) for entity in held)
