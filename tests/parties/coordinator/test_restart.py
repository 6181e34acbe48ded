"""What a coordinator that restarts still knows: who has signed, who has paused, and what each party offers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from parties.control.commands import Command
from tests.parties.coordinator_rig import FEATURES, LABEL, PARTIES, Consortium, FakeNode, wait_for_status, wait_until


def silent(node: FakeNode, command: Command) -> bool:
    """A node whose operators have not decided yet."""
    return command.kind == "approve"


def test_a_proposal_goes_on_waiting_for_the_signatures_that_it_lacks(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator(), consortium.client() as client, ExitStack() as stack:
        for name in PARTIES:
            node = FakeNode(consortium, name, silent) if name == "card" else FakeNode(consortium, name)
            stack.enter_context(node)
        run_id = client.propose(consortium.agreement())
        wait_until(lambda: len(client.run(run_id).signatures) == 2, "two signatures")
        before = client.run(run_id).signatures
    with consortium.coordinator(), consortium.client() as client, ExitStack() as stack:
        view = client.run(run_id)
        assert (view.status, view.phase, view.signatures) == ("proposed", "approve", before)
        parties = {name: stack.enter_context(FakeNode(consortium, name)) for name in PARTIES}
        assert wait_for_status(client, run_id, "settled", "aborted").reason == ""
        assert len(parties["card"].told("approve")) == 1
        assert not parties[LABEL].told("approve"), "who has signed is not asked again"


def test_a_paused_proposal_stays_paused_and_begins_when_it_is_resumed(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator(), consortium.client() as client:
        run_id = client.propose(consortium.agreement())
        client.pause(run_id, "prices are being mended")
    with consortium.coordinator(), consortium.client() as client, ExitStack() as stack:
        for name in PARTIES:
            stack.enter_context(FakeNode(consortium, name))
        wait_until(lambda: len(client.run(run_id).signatures) == 3, "every signature")
        view = wait_for_status(client, run_id, "paused")
        assert [(pause.by, pause.why) for pause in view.pauses] == [("admin", "prices are being mended")]
        assert view.phase == "align"
    with consortium.coordinator(), consortium.client() as client, ExitStack() as stack:
        parties = [stack.enter_context(FakeNode(consortium, name)) for name in PARTIES]
        assert client.run(run_id).status == "paused"
        for party in parties:
            wait_until(lambda party=party: bool(party.told("pause")), "word of the pause")  # type: ignore[misc]
            assert not party.told("start")
        client.resume(run_id)
        assert wait_for_status(client, run_id, "settled", "aborted").reason == ""


def test_offers_outlive_a_restart_and_leave_with_their_party(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator(), consortium.client() as client, ExitStack() as stack:
        for name in PARTIES:
            stack.enter_context(FakeNode(consortium, name, introduction=consortium.offer(name)))
        wait_until(lambda: all(view.columns for view in client.parties()), "introductions")
        before = {view.name: (view.role, view.columns, view.label_name) for view in client.parties()}
    with consortium.coordinator() as running, consortium.client() as client:
        views = {view.name: view for view in client.parties()}
        assert {name: (view.role, view.columns, view.label_name) for name, view in views.items()} == before
        assert {view.health for view in views.values()} == {"offline"}
        engine = running.desk.engine
        engine._roster.replace({name: member for name, member in engine._roster.items() if name != FEATURES[0]})
        engine.members_changed((FEATURES[0],))
        assert set(engine._log.offers()) == set(PARTIES) - {FEATURES[0]}
