"""A party dies for good in training, in real processes: the others sign to go on without it, and come to a factor."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.cli import run as entente
from parties.client import RunView
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.openings import OpeningStore
from tests.faults.living import LABEL, Living, living
from tests.parties.demo_rig import until
from vfl.protocols.row_bits import BACKWARD

pytestmark = pytest.mark.system

STAYING = ("satellite", "social")
ROOM = {"limit_per_row": 30, "largest_fraction": 4.0}


def opened_per_row(alive: Living, party: str) -> dict[str, int]:
    """Openings of the most opened row, by run and over all runs (by entity and period)."""
    store = OpeningStore(f"sqlite:///{alive.homes.party(party) / 'state.db'}")
    totals: dict[tuple[str, str], int] = {}
    largest: dict[str, int] = {}
    for run_id, entities, periods in store.runs():
        counts = np.zeros(len(entities) * len(periods), dtype=np.int64)
        for charge in store.history(run_id):
            counts[charge.rows] += BACKWARD not in charge.label
        largest[run_id] = int(counts.max(initial=0))
        for row in np.flatnonzero(counts):
            key = (entities[row % len(entities)], periods[row // len(entities)])
            totals[key] = totals.get(key, 0) + int(counts[row])
    store.close()
    return largest | {"all": max(totals.values(), default=0)}


def go_on(alive: Living, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """``entente run continue``; the new run's id."""
    command = ("run", "continue", alive.agreement.run_id[:12], "--credentials", str(alive.homes.admin), "--yes")
    capsys.readouterr()
    code = entente([*command, "--without", "card", "--largest-fraction", "4", *options])
    said = capsys.readouterr()
    assert code == 0, said.err
    found = re.search(r"Proposed run (\w{64})", said.out)
    assert found is not None
    return found[1]


def finished(alive: Living, run_id: str) -> RunView:
    with alive.client() as client:
        until(lambda: client.run(run_id).ended, "the end of the new run")
        view = client.run(run_id)
    assert view.status == "settled", view.reason
    return view


def test_the_others_go_on_without_a_party_that_is_gone_for_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with living(tmp_path, features=3, periods=14, room=ROOM) as alive:
        until(alive.at_step("card", 4), "step 4")
        alive.kill("card")
        until(lambda: alive.view().status == "paused", "the pause")
        rows = alive.records("card")["alignment"]
        run_id = go_on(alive, capsys)
        view = finished(alive, run_id)

        agreement = Agreement.model_validate(view.agreement)
        assert agreement.rows_kept
        assert view.parties == (LABEL, *STAYING)
        assert {signature.party for signature in view.signatures} == set(view.parties)
        assert view.n_common == alive.view().n_common, "the rows are those that all had in common"
        assert not any("psi.list" in item.message for item in view.bytes_by_message), "nothing was intersected"
        assert {contribution.party for contribution in view.contributions} == set(STAYING)

        dead = alive.view()
        assert (dead.status, dead.culprit) == ("aborted", "card")
        assert dead.reason == f"the others go on without card, as run {run_id[:12]}"
        with LedgerStore(alive.homes.coordinator / "ledger.db") as ledger:
            report = ledger.check()
            assert report.ok
            assert report.balanced
            assert ledger.journal(run_id=alive.agreement.run_id) == []
        for party in STAYING:
            used = opened_per_row(alive, party)
            assert used[alive.agreement.run_id] > 0
            assert used["all"] <= agreement.row_limit
            assert used[run_id] == agreement.needed_openings, "every opening of the new run was made as planned"
        [bundle] = alive.homes.party(LABEL).glob(f"factors/*/{run_id[:12]}")
        described = json.loads((bundle / "metadata.json").read_text())
        assert described["parties"] == [LABEL, *STAYING]

        # it comes back, too late: it is told that its run has ended, and keeps nothing of it but the rows
        alive.start("card")
        until(lambda: set(alive.records("card")) == {"alignment"}, "the returned party's records to be released")
        assert alive.records("card")["alignment"] == rows
        until(lambda: not any(alive.checkpoints(name).exists() for name in STAYING), "the others' to be released")
        keys = {
            name: bytes.fromhex(member.identity_key)
            for name, member in Roster.load(alive.homes.coordinator / "roster.json").items()
        }
        with AuditLog(COORDINATOR, f"sqlite:///{alive.homes.coordinator / 'coordinator.db'}") as log:
            assert log.verify(keys).faults == ()
            assert [e.body["as_run"] for e in log.entries() if e.kind == "continued"] == [run_id]
