"""Real processes, paused and killed while they wait: the same factor, exact counts, nothing begins unasked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parties.client import Client, RunView
from parties.errors import AgreementError
from parties.names import COORDINATOR
from tests.faults.living import LABEL, PARTIES, WHOLE_PERIODS, Living, Whole, living, opened
from tests.parties.demo_rig import until

pytestmark = pytest.mark.system

FEATURES = ("satellite", "social")


def paused(alive: Living) -> RunView:
    until(lambda: alive.view().status == "paused" or alive.ended(), "the stop")
    view = alive.view()
    assert view.status == "paused", view.reason
    return view


def check(alive: Living, whole: Whole) -> None:
    assert len(alive.scores()) == whole.scored
    assert alive.from_twin() <= 1e-3
    for party in FEATURES:
        assert opened(alive, party) == whole.openings[party], "every opening was made as planned, and charged once"


def test_a_paused_run_outlives_every_process_and_ends_in_the_same_factor(tmp_path: Path, whole: Whole) -> None:
    with living(tmp_path, periods=WHOLE_PERIODS) as alive:
        until(alive.at_step("satellite", 6), "step 6")
        run_id = alive.agreement.run_id
        with Client("", alive.homes.party("social"), name="social") as social:
            social.pause(run_id, "a look at our vendor's file")
        view = paused(alive)
        assert [(pause.by, pause.why) for pause in view.pauses] == [("social", "a look at our vendor's file")]
        assert (view.phase, view.waiting_for) == ("train", ())
        before = {party: alive.records(party) for party in PARTIES}
        counts = {party: opened(alive, party) for party in FEATURES}
        assert len({max(name for name in names if name.startswith("step-")) for names in before.values()}) == 1, (
            "everyone stands behind the record of one step"
        )
        for victim in ("satellite", LABEL, COORDINATOR, "social"):
            alive.kill(victim)
            alive.start(victim)
        until(alive.everyone_attached, "every party")
        with alive.client() as admin, Client("", alive.homes.party("satellite"), name="satellite") as satellite:
            view = admin.run(run_id)
            assert (view.status, view.pauses[0].by) == ("paused", "social")
            with pytest.raises(AgreementError, match="paused by social, not by satellite"):
                satellite.resume(run_id)
            assert {party: alive.records(party) for party in PARTIES} == before
            assert {party: opened(alive, party) for party in FEATURES} == counts, "nothing opens while it waits"
            attempt = {phase.name: phase.attempt for phase in view.phases}["train"]
            admin.resume(run_id)
        view = alive.settled()
        assert attempt == 2, "restarts while it waits begin nothing"
        check(alive, whole)
        kinds = [event.kind for event in alive.events()]
        assert kinds.count("paused") == kinds.count("resumed") == 1


@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_a_party_killed_while_it_stops_is_waited_for_after_the_resumption(tmp_path: Path, whole: Whole) -> None:
    with living(tmp_path, periods=WHOLE_PERIODS) as alive:
        until(alive.at_step(LABEL, 10), "step 10")
        with alive.client() as admin:
            admin.pause(alive.agreement.run_id, "")
            alive.kill(LABEL)
            admin.resume(alive.agreement.run_id)
            admin.pause(alive.agreement.run_id, "again")
            alive.start(LABEL)
            until(lambda: alive.view().status == "paused" and alive.everyone_attached(), "the stop")
            alive.kill(COORDINATOR)
            alive.start(COORDINATOR)
            until(alive.everyone_attached, "every party")
            admin.resume(alive.agreement.run_id)
        alive.settled()
        check(alive, whole)
