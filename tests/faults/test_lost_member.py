"""A member killed during federated training: the others train on without it, and the run ends well."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

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
from tests.parties.demo.test_federated_demo import MEMBERS, consortium
from tests.parties.demo_rig import until

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="test_federated_state.py has it without processes"),
]

ALL = (*MEMBERS, "west")
LOST = "east"
STAYED = tuple(name for name in ALL if name != LOST)


def test_a_killed_member_above_the_threshold_costs_no_attempt(tmp_path: Path) -> None:
    consortium(tmp_path, ALL, rounds=200)
    settings = load_consortium(tmp_path / "consortium.toml")
    homes = lay_out(tmp_path / "out", settings, tmp_path, tmp_path, 3)
    agreement = agreement_of(settings, homes.roster, datetime.now(UTC))
    agreement = agreement.model_copy(update={"silence_seconds": 20})
    with Processes(homes.logs) as processes:
        alive = Living(homes, agreement, processes, lambda _, start: start())
        for name in ("coordinator", *ALL):
            alive.start(name)
        until(alive.everyone_attached, "every member")
        with alive.client() as client:
            client.propose(agreement)
        until(lambda: _rounds(alive) > 3, "some rounds")
        alive.kill(LOST)
        view = alive.settled()
    assert {phase.attempt for phase in view.phases} == {1}
    rounds = [json.loads(_made(alive, name).read_text())["rounds"] for name in STAYED]
    assert rounds[0] == rounds[1] == rounds[2]
    assert (rounds[0][0], rounds[0][-1], len(rounds[0])) == (list(ALL), list(STAYED), 200)
    assert not _made(alive, LOST).exists()
    assert [name for name in ALL if list(homes.party(name).glob("factors/*/*"))] == list(STAYED)
    assert view.federated is not None
    assert (view.federated.done, view.federated.dropped) == (200, (LOST,))
    assert view.federated.latest == STAYED
    assert view.federated.taken[LOST] == view.federated.stretches[0].last < 200
    _proved(alive, view.federated.taken[LOST])


def _proved(alive: Living, rounds: int) -> None:
    """All packs beside each other: until when the lost member took part is told, and what its own log lacks."""
    run_id, written = alive.agreement.run_id, alive.homes.out / "coordinator.zip"
    packs = [evidence_of_node(NodeHome(alive.homes.party(name)), run_id, datetime.now(UTC)) for name in ALL]
    assert entente(["evidence", run_id, "--home", str(alive.homes.coordinator), "--out", str(written)]) == 0
    checks = [check_evidence(data) for data in (*packs, written.read_bytes())]
    parts = [check.parts for check in checks if check.sound and check.parts is not None]
    assert len(parts) == len(ALL) + 1
    for said in (check_together(parts), check_together(parts[:-1])):
        assert said.faults == []
        assert any(line.startswith(f"That {LOST}'s node stopped in session train-1") for line in said.asserted)
    last = f"The coordinator logged that {LOST} dropped out of session train-1: its last was round {rounds} of 200."
    assert last in check_together(parts).proved


def _rounds(alive: Living) -> int:
    done = (one.done for phase in alive.view().phases if phase.name == "train" for one in phase.progress)
    return max(done, default=0)


def _made(alive: Living, name: str) -> Path:
    return alive.homes.party(name) / "runs" / alive.agreement.run_id / "federated.json"
