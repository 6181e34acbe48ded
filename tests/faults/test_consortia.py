"""Whole consortia under random faults: each ends in the same factor and the same books, or in one clean stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest

from parties.audit.log import AuditLog
from parties.coordinator.engine import Engine
from parties.coordinator.events import Event, PhaseFailed, Proposed, Signed
from parties.coordinator.run import RunState
from parties.coordinator.store import EventLog, LoggedEvent
from parties.errors import StorageError
from parties.members.keys import Identity
from parties.names import COORDINATOR
from parties.process.database import open_engine
from tests.faults.consortium import LABEL, Consortium, difference, transparent_product
from tests.faults.world import POT, World, identities

SIMULATED = int(os.environ.get("ENTENTE_SIMULATED", "100"))
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Identity]:
    return identities(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def transparent() -> Iterator[None]:
    with transparent_product():
        yield


def rewards(world: World) -> dict[str, int]:
    """What is pending for each party."""
    return {name: held.pending for name, held in world.ledger.balances().items() if "Party" in name and held.pending}


def whole(world: World) -> Consortium:
    """The same training without a fault."""
    made = world.training
    return Consortium(world.seed, made.parties, periods=made.periods, entities=made.entities)


def check(world: World, state: RunState) -> None:
    """What must hold however the run went."""
    report = world.ledger.check()
    assert report.ok
    assert report.balanced
    public = {name: bytes.fromhex(member.identity_key) for name, member in world.roster.items()}
    for name in world.names:
        with AuditLog(name, world.parties[name].audit_url) as log:
            assert log.verify(public).faults == (), name
    assert world.audit.verify(public).faults == ()
    assert not any(party.refused for party in world.parties.values())
    said = {party.ended for party in world.parties.values() if not party.gone}
    if state.status == "aborted":
        assert state.reason
        assert said <= {"abort", ""}
        assert rewards(world) == {}, "an ended run pays nobody"
        return
    assert state.status == "settled"
    assert said <= {"finished", ""}
    assert sum(rewards(world).values()) == POT, "the pot is booked once"
    for party in world.training.parties:
        assert (world.training.counted(party) == world.training.planned()).all(), "opening counts are exact"
    assert len(set(world.training.masks_used)) == len(world.training.masks_used), "no mask is used twice"
    assert world.result is not None
    assert difference(whole(world).attempt(), world.result) <= TOLERANCE
    assert len(set(world.delivered.values())) == 1, "everyone received the same factor"
    assert set(world.delivered) >= {LABEL, *world.training.parties}


def simulate(seed: int, keys: dict[str, Identity]) -> str:
    """One consortium; how it ended. ``simulate(seed, keys)`` alone replays a seed that a test named."""
    world = World(seed, keys)
    try:
        state = world.play()
        check(world, state)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        world.close()
    return state.status


def test_a_quiet_consortium_settles_at_its_first_attempts(keys: dict[str, Identity]) -> None:
    world = World(0, keys, faults=False)
    state = world.play()
    check(world, state)
    assert state.status == "settled"
    assert {span.attempt for span in state.spans} == {1}
    assert (COORDINATOR in world.delivered) == (COORDINATOR in world.agreement.recipients)
    world.close()


def test_the_same_seed_is_the_same_history(keys: dict[str, Identity]) -> None:
    def history() -> list[tuple[str, str]]:
        world = World(3, keys)
        world.play()
        entries = [(entry.kind, str(entry.body.get("attempt", ""))) for entry in world.audit.entries()]
        world.close()
        return entries

    assert history() == history()


class FullOnce(EventLog):
    """A disk that is full at one moment."""

    full = True

    def append(self, entry: Event) -> LoggedEvent:
        if self.full:
            raise StorageError("the event log cannot be written (no space left on device): free some space")
        return super().append(entry)


def test_a_full_disk_forgets_neither_a_blame_nor_a_restart(keys: dict[str, Identity]) -> None:
    world = next(w for w in (World(seed, keys, faults=False) for seed in range(20)) if not w.plan.matching)
    log = FullOnce(open_engine(world.database("full")))
    log.full = False
    log.append(Proposed(world.run_id, world.clock.now(), world.agreement.canonical().decode()))
    for name in world.names:
        log.append(Signed(world.run_id, world.clock.now(), name, "ab" * 64))
    one, two, *_ = world.names
    for what in ("blame", "restart"):
        log.full = False
        engine = Engine(log, world.roster, mock.Mock(), version="0", heartbeat=2.0)
        engine.restore()
        run = engine.known(world.run_id)
        for name in world.names:
            engine.attach(name, "first", "0", ())
        attempt = run.state.span.attempt
        phase = run.state.span.phase
        log.full = True
        if what == "blame":
            lost = PhaseFailed(world.run_id, world.clock.now(), one, phase, attempt, "away", two, lost=True)
            engine.take(lost)  # held back, for the other's own words may come
            engine._blames._until[world.run_id] = 0.0
            with pytest.raises(StorageError):
                engine.tick()
        else:
            with pytest.raises(StorageError):
                engine.attach(two, "second", "0", ())
            assert not engine.attachments([two])[two].attached
        log.full = False
        engine.tick()
        engine.attach(two, "second", "0", ())
        after = engine.known(world.run_id).state.span.attempt
        assert after > attempt, f"the {what} was forgotten: everyone would wait for ever"
    world.close()


@pytest.mark.parametrize("block", range(10))
def test_simulated_consortia(block: int, keys: dict[str, Identity]) -> None:
    """ENTENTE_SIMULATED of them: most are settled however they were disturbed, none is left hanging."""
    ends = [simulate(seed, keys) for seed in range(block, SIMULATED, 10)]
    assert ends.count("settled") >= 0.6 * len(ends)
