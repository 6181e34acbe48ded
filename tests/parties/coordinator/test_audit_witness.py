"""The coordinator's audit log says in which session a party was lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.audit.log import AuditLog
from parties.coordinator.audit_witness import AuditWitness
from parties.coordinator.events import Event, PartyBack, PartyLost, PartyRestarted
from parties.members.roster import Roster
from parties.names import COORDINATOR
from tests.parties.coordinator.test_federated_state import RUN, T0, after


@pytest.mark.parametrize(
    ("before", "during"),
    [
        ([], "train-1"),
        ([PartyLost(RUN, T0, "l", 90.0)], "train-1"),  # the run waits: the second attempt has not begun
        ([PartyLost(RUN, T0, "l", 90.0), PartyBack(RUN, T0, "l")], "train-2"),
    ],
)
def test_a_lost_party_is_logged_with_its_session(tmp_path: Path, before: list[Event], during: str) -> None:
    state, _ = after(*before)
    with AuditLog(COORDINATOR, f"sqlite:///{tmp_path / 'log.db'}", Ed25519PrivateKey.generate().sign) as log:
        witness = AuditWitness(log, Roster({}))
        for event in (PartyRestarted(RUN, T0, "c"), PartyLost(RUN, T0, "c", 90.0)):
            witness.noticed(event, state)
        assert [entry.body["during"] for entry in log.entries(RUN)] == [during, during]
