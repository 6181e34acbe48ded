"""What members are told before anybody signs: whether each node's data can be used, and whom it reached."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parties.control.commands import ApproveBody, Command
from parties.control.reports import LinksBody, LinkState
from parties.errors import AgreementError
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, wait_for_status, wait_until

AT = datetime(2030, 1, 1, tzinfo=UTC)
SEEN: dict[str, LinkState] = {"bank": "agreed", "card": "other"}


def test_data_checks_and_links_are_told_and_those_of_strangers_refused(tmp_path: Path) -> None:
    consortium, refused = Consortium(tmp_path), list[str]()

    def tries_links(node: FakeNode, command: Command) -> bool:
        if isinstance(command.body, ApproveBody):
            with pytest.raises(AgreementError, match="not in it") as stranger:
                node.line.links(command.run_id, LinksBody(at=AT, peers={"nobody": "silent"}))
            refused.append(str(stranger.value))
            node.line.links(command.run_id, LinksBody(at=AT, peers=SEEN))
        return False

    def answers(_: FakeNode, __: Command) -> bool:
        return False

    with ExitStack() as stack:
        stack.enter_context(consortium.coordinator())
        nodes = {
            name: stack.enter_context(
                FakeNode(
                    consortium, name, *([tries_links] if name == "sat" else []), introduction=consortium.offer(name)
                )
            )
            for name in PARTIES
        }
        client = stack.enter_context(consortium.client())
        nodes["sat"].line.data_checked(usable=False)
        nodes["card"].line.data_checked(usable=True)
        told = {}

        def known() -> bool:
            told.update({one.name: one for one in client.members()})
            return all(told[name].data_checked is not None for name in ("sat", "card"))

        wait_until(known, "data checks")
        assert [told[name].data_usable for name in PARTIES] == [False, False, True]
        assert told["bank"].data_checked is None
        run_id = client.propose(consortium.agreement())
        wait_for_status(client, run_id, "settled")
        signers = {one.party: one for one in client.agreement(run_id).signers}
        assert dict(signers["sat"].links) == SEEN
        assert signers["sat"].links_at == AT
        assert not signers["bank"].links
        assert len(refused) == 1
