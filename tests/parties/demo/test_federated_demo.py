"""A whole federated run: members with the same columns and entities of their own, real processes, a settled ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parties.cli import run as entente
from parties.evidence.checking import check_evidence
from parties.evidence.parts import Report
from parties.evidence.questions import QUESTIONS
from parties.evidence.together import check_together
from parties.node.evidence_pack import evidence_of_node
from parties.node.home import NodeHome
from tests.parties.demo_rig import demo
from vfl.federated.privacy import spent
from vfl.terms import FederatedModel

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
rounds = 6
learning_rate = 0.1
[walk_forward]
warmup = 4
[evaluation]
first = "2020-09"
[reward]
pot = 1000
rows = "any"
"""


def consortium(
    folder: Path, members: Sequence[str] = MEMBERS, rounds: int = 6, model: str = "hidden = 0", more: str = ""
) -> None:
    """Terms and data of members. model: lines of the model beside its rounds. more: tables beside those."""
    rng, text = np.random.default_rng(3), TERMS.replace("rounds = 6", f"rounds = {rounds}")
    text = text.replace("hidden = 0", model) + more
    grid = pd.MultiIndex.from_product([MONTHS, range(12)], names=["period", "entity"])
    for place, name in enumerate(members):
        values = rng.normal(size=(len(grid), 6))
        # until the model is judged a member has seen two columns vary, others the rest: joining is worth something
        values[: 8 * 12] *= np.isin(np.arange(6) // 2, [place % 3])
        frame = pd.DataFrame(values, columns=list("abcdef"), index=grid)
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
    [settled] = [one for one in _packs(out, summary["run_id"]) if one.phase == "settle"]
    assert settled.report["rewards"] == {"south": 500, "east": 500}  # the whole pot: joining is shown to be worth it


@pytest.mark.system
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="the case above has real processes")
def test_a_personal_head_stays_at_each_member_and_nobody_is_valued(tmp_path: Path) -> None:
    consortium(tmp_path, model="hidden = 4\npersonal_head = true", more='[openings]\ncontribution = "none"\n')
    out = tmp_path / "out"
    with demo(out, "--config", str(tmp_path / "consortium.toml"), "--data", str(tmp_path), size=()) as process:
        printed, errors = process.communicate(timeout=400)
    assert process.returncode == 0, printed + errors
    summary = json.loads((out / "summary.json").read_text())
    assert summary["parity"] < 1e-6, "the twin keeps each head at home too"
    assert summary["shapley"] == {}
    made = [
        json.loads((out / "parties" / n / "runs" / summary["run_id"] / "federated.json").read_text()) for n in MEMBERS
    ]
    assert made[0]["weights"] == made[1]["weights"] == made[2]["weights"]
    assert len({tuple(one["head"]) for one in made}) == len(MEMBERS), "each its own"
    assert len(made[0]["weights"]) == (6 + 1) * 4


@pytest.mark.system
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="the case above has real processes")
def test_noise_is_in_every_sum_and_its_epsilon_is_told(tmp_path: Path) -> None:
    pytest.importorskip("opacus")
    consortium(tmp_path, model='hidden = 0\nnoise = 1.0\nclip = 0.5\nweights = "equal"')
    out = tmp_path / "out"
    with demo(out, "--config", str(tmp_path / "consortium.toml"), "--data", str(tmp_path), size=()) as process:
        printed, errors = process.communicate(timeout=400)
    assert process.returncode == 0, printed + errors
    summary = json.loads((out / "summary.json").read_text())
    assert summary["parity"] is None
    assert "no run in the clear equals it" in printed
    model = FederatedModel(rounds=6, noise=1.0, weights="equal")
    # three members: the training, and the one coalition that may train
    assert f"Epsilon spent: {spent(model, 2):.3g} at delta 1e-05" in printed
    assert f"{spent(model, 2):.3g} was signed for" in printed


def _packs(out: Path, run_id: str) -> tuple[Report, ...]:
    """Each member's has the factor that it signed, and says who keeps it; all are sound together. The reports."""
    packs, written = [], out / "coordinator.zip"
    for name in MEMBERS:
        home = out / "parties" / name
        check = check_evidence(evidence_of_node(NodeHome(home), run_id, datetime.now(UTC)))
        assert check.parts is not None
        assert check.parts.factor
        assert any(line.startswith(f"{name} signed the factor's validation") for line in check.proved)
        said = " ".join(line for question in QUESTIONS for line in question.answer(check.parts).lines)
        assert "Each of north, south, east keeps the factor of its own entities, and sends it to nobody" in said
        assert "16 openings of sums over members: " in said
        assert "Nobody can compute it anew" in said
        assert "sealed to" not in said
        packs.append(check.parts)
        assert entente(["audit", "evidence", run_id, "--home", str(home), "--out", str(out / "shown")]) == 2
    assert entente(["evidence", run_id, "--home", str(out / "coordinator"), "--out", str(written)]) == 0
    paid = check_evidence(written.read_bytes())
    assert paid.sound
    assert paid.parts is not None
    assert check_together([*packs, paid.parts]).faults == []
    return paid.parts.reports
