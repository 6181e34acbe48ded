"""A vertical run with a group: four members train one encoder between real processes, and a label party uses it."""

from __future__ import annotations

import json
import os
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from parties.node.group_encoder import kept_encoder, kept_expansion
from tests.parties.demo_rig import demo
from tests.places import ROOT

EXAMPLE = ROOT / "examples" / "group_encoder"
MEMBERS = ("north", "south", "east", "west")


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_members_train_one_encoder_and_go_on_as_feature_parties(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE / "panel.py"))["write"](tmp_path, 10, 60, 0)
    for query in EXAMPLE.glob("*.sql"):
        shutil.copy(query, tmp_path)
    shared = (tmp_path / "north.csv").read_text().splitlines()
    with (tmp_path / "west.csv").open("a") as file:  # west has an account of north's too
        file.writelines(f"{line}\n" for line in shared if "north000" in line)
    text = (EXAMPLE / "consortium.toml").read_text().replace("rounds = 10", 'rounds = 3\noverlap = "precedence"')
    expand = "[group.expand]\nfourier = 4\nbins = 4\noutputs = 6\nfit_periods = 28\n\n[group.encoder]"
    text = text.replace("[group.encoder]", expand)
    (tmp_path / "consortium.toml").write_text(text.replace("size_bucket = 16", "size_bucket = 8"))
    out = tmp_path / "out"
    with demo(out, "--config", str(tmp_path / "consortium.toml"), "--data", str(tmp_path), size=()) as process:
        printed, errors = process.communicate(timeout=800)
    assert process.returncode == 0, printed + errors
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    runs = {name: out / "parties" / name / "runs" / summary["run_id"] for name in MEMBERS}
    first, *others = (kept_encoder(folder) for folder in runs.values())
    assert first is not None
    fitted, *same = (kept_expansion(folder) for folder in runs.values())
    assert fitted is not None
    assert all(other is not None and (fitted == other).all() for other in same)
    assert all(other is not None and (first == other).all() for other in others)
    assert not (out / "parties" / "fund" / "runs" / summary["run_id"] / "group_encoder.json").exists()
    sent = summary["bytes_by_message_type"]
    assert {"group.share", "group.added"} <= set(sent["west"]), "members add the expansion's counts up themselves"
    assert {"group.told", "group.held", "fed.part", "fed.key", "fed.unmask"} <= set(sent["west"])
    assert "fed.total" in sent["coordinator"]
    assert not any(kind.startswith(("fed.", "group.")) for kind in sent["fund"])
    left = {name: json.loads((folder / "precedence.json").read_text())["left"] for name, folder in runs.items()}
    assert left == {"north": [], "south": [], "east": [], "west": ["NORTH000"]}
    assert {"precedence.held", "precedence.asked"} <= set(sent["west"])
    assert not any(kind.startswith("precedence.") for name in ("fund", "coordinator") for kind in sent[name])
    assert not {"fed.plain", "group.passed"} & {kind for kinds in sent.values() for kind in kinds}
    assert summary["ic"]["joint"] > 0.3
    assert summary["ledger"]["balanced"]
