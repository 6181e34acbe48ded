"""Real processes, killed with signal 9 in every phase and started again: the same factor, exact counts, sound books."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parties.audit.log import AuditLog
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR
from tests.faults.living import LABEL, PARTIES, WHOLE_PERIODS, Living, Whole, living, opened
from tests.parties.demo_rig import until

pytestmark = pytest.mark.system

FEATURES = ("satellite", "social")


def killed_and_started_again(alive: Living, victim: str, when: Callable[[], bool], what: str) -> None:
    until(lambda: when() or alive.ended(), what)
    assert not alive.ended(), alive.view().reason
    alive.kill(victim)
    alive.start(victim)


@pytest.mark.timeout(900)  # eight restarts take their time on a machine that does other things
def test_kill_9_in_every_phase_ends_in_the_same_factor(tmp_path: Path, whole: Whole) -> None:
    assert set(whole.openings["social"].values()) == {1}
    with living(tmp_path, periods=WHOLE_PERIODS) as alive:
        killed_and_started_again(alive, "social", alive.begun("social", "align"), "alignment")
        killed_and_started_again(alive, "satellite", alive.at_step("satellite", 3), "step 3")
        killed_and_started_again(alive, LABEL, alive.at_step(LABEL, 6), "step 6")
        killed_and_started_again(alive, COORDINATOR, alive.at_step("social", 9), "step 9")
        if "ENTENTE_LONG" in os.environ:
            killed_and_started_again(alive, "satellite", alive.at_step("satellite", 12), "step 12")
        killed_and_started_again(alive, LABEL, alive.begun(LABEL, "evaluate"), "evaluation")
        killed_and_started_again(alive, "social", alive.begun("social", "value"), "valuation")
        killed_and_started_again(alive, LABEL, alive.begun(LABEL, "export"), "export")
        killed_and_started_again(alive, COORDINATOR, lambda: True, "nothing more")
        view = alive.settled()
        assert {phase.name: phase.attempt for phase in view.phases}["train"] >= 4
        assert len(alive.scores()) == whole.scored
        assert alive.from_twin() <= 1e-3
        for party in FEATURES:
            assert opened(alive, party) == whole.openings[party], "every opening was made as planned, and charged once"
        with LedgerStore(alive.homes.coordinator / "ledger.db") as ledger:
            report = ledger.check()
        assert report.ok
        assert report.balanced
        until(lambda: not any(alive.checkpoints(party).exists() for party in PARTIES), "the records to be released")
        keys = {
            name: bytes.fromhex(m.identity_key)
            for name, m in Roster.load(alive.homes.coordinator / "roster.json").items()
        }
        homes = {name: alive.homes.party(name) / "state.db" for name in PARTIES}
        for name, file in {**homes, COORDINATOR: alive.homes.coordinator / "coordinator.db"}.items():
            with AuditLog(name, f"sqlite:///{file}") as log:
                assert log.verify(keys).faults == (), name


def test_a_changed_record_on_disk_is_not_gone_on_from(tmp_path: Path) -> None:
    """The last record of one party is damaged while it is down: everyone goes on from the one before."""
    with living(tmp_path, periods=10) as alive:
        until(alive.at_step("satellite", 4), "step 4")
        alive.kill("satellite")
        last = max(alive.checkpoints("satellite").glob("step-*[0-9]"))
        last.write_bytes(last.read_bytes()[:-1] + b"\x00")
        alive.start("satellite")
        view = alive.settled()
        assert view.openings
        assert all(used.max_used <= used.limit for used in view.openings)
        assert "is damaged or missing; an earlier one is used" in (alive.homes.logs / "satellite.log").read_text()


def test_data_that_changed_while_a_node_was_down_stops_the_run_by_name(tmp_path: Path) -> None:
    with living(tmp_path, periods=10) as alive:
        until(alive.at_step("social", 4), "step 4")
        alive.kill("social")
        [query] = (tmp_path / "data").rglob("social.sql")
        query.write_text(
            f"SELECT * REPLACE (period AS period) FROM ({query.read_text().rstrip().rstrip(';')}) LIMIT 375"
        )
        alive.start("social")
        until(lambda: alive.view().ended, "the end")
        view = alive.view()
        assert view.status == "aborted"
        assert "social stopped in train" in view.reason
