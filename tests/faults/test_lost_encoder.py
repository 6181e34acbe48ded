"""A member killed while its group trains an encoder: the others train to the end and give it theirs when it is back."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from parties.cli import run as entente
from parties.demo.homes import lay_out
from parties.demo.processes import Processes
from parties.evidence.checking import check_evidence
from parties.evidence.together import check_together
from parties.node.evidence_pack import evidence_of_node
from parties.node.home import NodeHome
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from tests.faults.living import Living
from tests.parties.demo_rig import until
from tests.places import ROOT

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="test_group_state.py has it without processes"),
]

EXAMPLE = ROOT / "examples" / "group_encoder"
MEMBERS = ("north", "south", "east", "west")
LOST = "east"


def test_a_killed_member_is_given_the_encoder_and_the_run_ends_well(tmp_path: Path) -> None:
    runpy.run_path(str(EXAMPLE / "panel.py"))["write"](tmp_path, 10, 60, 0)
    for query in EXAMPLE.glob("*.sql"):
        shutil.copy(query, tmp_path)
    text = (EXAMPLE / "consortium.toml").read_text().replace("rounds = 10", "rounds = 60")
    text = text.replace("local_epochs = 4", "local_epochs = 1").replace("size_bucket = 16", "size_bucket = 8")
    (tmp_path / "consortium.toml").write_text(text)
    settings = load_consortium(tmp_path / "consortium.toml")
    homes = lay_out(tmp_path / "out", settings, tmp_path, tmp_path, 3)
    agreement = agreement_of(settings, homes.roster, datetime.now(UTC)).model_copy(update={"silence_seconds": 20})
    with Processes(homes.logs) as processes:
        alive = Living(homes, agreement, processes, lambda _, start: start())
        for name in ("coordinator", "fund", *MEMBERS):
            alive.start(name)
        until(alive.everyone_attached, "every member")
        with alive.client() as client:
            client.propose(agreement)
        wait(lambda: rounds_of(alive) > 2, "some rounds")
        alive.kill(LOST)
        wait(lambda: all(made(alive, name) for name in MEMBERS if name != LOST), "the others' encoder")
        assert not made(alive, LOST)
        alive.start(LOST)
        wait(lambda: alive.view().ended, "the end")
        view = alive.view()
    assert view.status == "settled", view.reason
    assert {phase.name: phase.attempt for phase in view.phases}["encode"] == 2
    kept = {name: made(alive, name) for name in MEMBERS}
    assert len({json.dumps(one["weights"]) for one in kept.values()}) == 1, "all have the very same"
    first, *others = (kept[name]["rounds"] for name in MEMBERS if name != LOST)
    assert all(one == first for one in others)
    assert (first[0], first[-1], len(first)) == (list(MEMBERS), [name for name in MEMBERS if name != LOST], 60)
    assert kept[LOST]["rounds"] == [], "it was given its own"
    proved(alive)


def wait(condition: Callable[[], bool], what: str) -> None:
    """Longer than most tests have reason to: a sealed run of five nodes goes on behind it."""
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.2)


def proved(alive: Living) -> None:
    """All packs beside each other are sound; without the coordinator's the messages show who left, and it says so."""
    run_id, written = alive.agreement.run_id, alive.homes.out / "coordinator.zip"
    packs = [
        evidence_of_node(NodeHome(alive.homes.party(name)), run_id, datetime.now(UTC)) for name in ("fund", *MEMBERS)
    ]
    assert entente(["evidence", run_id, "--home", str(alive.homes.coordinator), "--out", str(written)]) == 0
    checks = [check_evidence(data) for data in (*packs, written.read_bytes())]
    parts = [check.parts for check in checks if check.sound and check.parts is not None]
    assert len(parts) == len(MEMBERS) + 2
    for said, shown in (
        (check_together(parts), f"The coordinator logged that {LOST}'s node "),
        (check_together(parts[:-1]), f"{LOST} left session encode-1 before its end: "),
    ):
        assert said.faults == []
        assert any(line.startswith(shown) for line in said.proved), said.proved
        assert any(line.startswith(f"That {LOST}'s node stopped in session encode-1") for line in said.asserted)


def rounds_of(alive: Living) -> int:
    return max(
        (one.done for phase in alive.view().phases if phase.name == "encode" for one in phase.progress), default=0
    )


def made(alive: Living, name: str) -> dict[str, Any]:
    """The encoder that a node keeps; empty before there is one."""
    path = alive.homes.party(name) / "runs" / alive.agreement.run_id / "group_encoder.json"
    return json.loads(path.read_text()) if path.exists() else {}
