"""Real processes that cannot reach each other: the run is led through the coordinator, and survives its loss."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from parties.agreement import COORDINATOR
from parties.demo.homes import DemoHomes, free_addresses
from parties.ledger.store import LedgerStore
from tests.faults.living import LABEL, PARTIES, living
from tests.parties.demo_rig import until

pytestmark = pytest.mark.system


def out_of_reach(homes: DemoHomes) -> None:
    """Every node listens where nobody looks for it."""
    for name, address in zip(PARTIES, free_addresses(len(PARTIES)), strict=True):
        file = homes.party(name) / "node.toml"
        file.write_text(re.sub(r'^listen = ".*"$', f'listen = "{address}"', file.read_text(), count=1, flags=re.M))


def test_parties_that_cannot_reach_each_other_end_in_the_same_factor(tmp_path: Path) -> None:
    with living(tmp_path / "direct") as alive:
        assert alive.settled().relayed == (), "the direct way is the default"
        direct = alive.scores()

    with living(tmp_path / "relayed", out_of_reach) as alive:
        until(alive.at_step("satellite", 6), "step 6")
        assert (COORDINATOR, "social") in {(one.sender, one.receiver) for one in alive.view().relayed}
        alive.kill(COORDINATOR)  # every connection goes with it
        alive.start(COORDINATOR)
        view = alive.settled()
        scores = alive.scores()
        assert np.abs(scores - direct).max() <= 1e-3 * direct.std()
        pairs = {(one.sender, one.receiver) for one in view.relayed}
        assert {(LABEL, "social"), ("social", LABEL), ("social", "satellite")} <= pairs
        log = (alive.homes.logs / f"{LABEL}.log").read_text()
        assert "relay: social cannot be reached at 127.0.0.1:" in log
        assert "its messages travel through the coordinator, encrypted end to end" in log
        with LedgerStore(alive.homes.coordinator / "ledger.db") as ledger:
            assert ledger.check().balanced
        assert all(used.max_used <= used.limit for used in view.openings)
