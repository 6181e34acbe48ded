"""Members that come and go while servers run, and a node that signs when its people and its hours say so."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from parties.agreement.document import Agreement
from parties.agreement.signing import verify_signature
from parties.control.commands import ApproveBody, Command, StartBody
from parties.data.simulate import simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import PeerError
from parties.members.keys import renew_certificate
from parties.members.roster import Roster
from parties.node.decisions import decide
from parties.node.home import NodeHome
from parties.node.node import Node
from parties.node.run_approvals import RunApprovals
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import TransportSettings, load_consortium
from parties.settings.toml_text import to_toml
from parties.transport.grpc import ExchangeServer
from psi.flow import Payload, Recv, Role
from tests.conformance.rigs import RUN, Note, make_roster
from tests.parties.rounds import Rounds

QUICK = TransportSettings(contact_seconds=3, reconnect_seconds=1, silence_seconds=5)
ROLES = {"label": Role.LABEL, "cards": Role.FEATURE}
PAYLOADS = frozenset(Payload)


def talk(one: ExchangeServer, other: ExchangeServer, session: str) -> str:
    """Send a note from one to the other and back; what came back."""
    with one.open(RUN, session, ROLES, PAYLOADS) as here, other.open(RUN, session, ROLES, PAYLOADS) as there:
        here.send(there.party, Note(1, "there"))
        _, note = there.receive([Recv(here.party, Note)], 5)
        there.send(here.party, note)
        _, back = here.receive([Recv(there.party, Note)], 5)
        return cast(Note, back).text


def test_a_member_that_joins_is_let_in_and_one_that_leaves_is_kept_out(tmp_path: Path) -> None:
    identities, whole = make_roster(tmp_path, ROLES)
    seen = Roster({"label": whole["label"]})
    with (
        ExchangeServer(identities["label"], seen, whole["label"].address, settings=QUICK) as label,
        ExchangeServer(identities["cards"], whole, whole["cards"].address, settings=QUICK) as cards,
    ):
        with pytest.raises(PeerError, match="'cards' is not in the roster"):
            label.open(RUN, "early-1", ROLES, PAYLOADS)
        seen.replace(dict(whole))
        assert talk(label, cards, "known-1") == "there"
        seen.replace({"label": whole["label"]})
        with (
            cards.open(RUN, "late-1", ROLES, PAYLOADS) as channel,
            pytest.raises(PeerError, match=r"does not accept our certificate|cannot be reached"),
        ):
            channel.send("label", Note(2, "still here?"))
            channel.receive([Recv("label", Note)], 8)


def test_a_renewed_certificate_is_used_at_the_next_connection(tmp_path: Path) -> None:
    identities, whole = make_roster(tmp_path, ROLES)
    with ExchangeServer(identities["label"], whole, whole["label"].address, settings=QUICK) as label:
        with ExchangeServer(identities["cards"], whole, whole["cards"].address, settings=QUICK) as cards:
            assert talk(label, cards, "old-1") == "there"
        new = renew_certificate(identities["cards"])
        whole.replace({**whole, "cards": new.member(whole["cards"].address)})
        with ExchangeServer(new, whole, whole["cards"].address, settings=QUICK) as cards:
            assert talk(label, cards, "new-1") == "there"


class StubLine:
    """Hands out what it is given, and keeps what the node says."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Command | None] = queue.Queue()
        self.said: queue.Queue[tuple[str, ...]] = queue.Queue()

    def commands(self) -> Iterator[Command]:
        return iter(self.inbox.get, None)

    def signed(self, run_id: str, signature: str) -> None:
        self.said.put(("signed", run_id, signature))

    def links(self, run_id: str, said: Any) -> None:
        """What answered at the peers' addresses comes before an answer, and is none."""

    def data_checked(self, *, usable: bool) -> None:
        """Nor is this."""

    def rejected(self, run_id: str, why: str) -> None:
        self.said.put(("rejected", run_id, why))

    def failed(self, run_id: str, phase: str, attempt: int, reason: str, peer: str = "", **_: Any) -> None:
        self.said.put(("failed", run_id, reason))


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    folder = tmp_path_factory.mktemp("homes")
    made = simulate(folder / "data", entities=40, periods=16, parties=2, seed=1, model="split")
    return lay_out(folder / "out", load_consortium(made.config), made.config.parent, made.data, 1)


@pytest.fixture
def agreement(homes: DemoHomes) -> Agreement:
    settings = load_consortium(homes.out.parent / "data" / "consortium.toml")
    return agreement_of(settings, homes.roster, datetime.now(UTC), timedelta(minutes=5))


@contextmanager
def node(homes: DemoHomes, agreement: Agreement, **changes: Any) -> Iterator[tuple[StubLine, Path]]:
    """A node that is asked to sign, and the folder of the run."""
    home = homes.party("social")
    before = (home / "node.toml").read_text()
    settings = NodeHome(home).settings.model_dump(mode="json", exclude_unset=True)
    limits = changes.pop("whole_limits", None) or {**settings.get("limits", {}), **changes.pop("limits", {})}
    (home / "node.toml").write_text(to_toml({**settings, **changes, "limits": limits}))
    line = StubLine()
    try:
        place = NodeHome(home)
        thread = threading.Thread(target=Node(place, cast(Any, None), cast(Any, line)).serve)
        thread.start()
        try:
            document = agreement.model_dump(mode="json")
            line.inbox.put(Command(ApproveBody(agreement=document), agreement.run_id))
            yield line, home / "runs" / agreement.run_id
        finally:
            line.inbox.put(None)
            thread.join(20)
    finally:
        (home / "node.toml").write_text(before)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_node_signs_once_two_people_have_approved(
    homes: DemoHomes, agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch, RunApprovals, "_look")
    changes: dict[str, Any] = {"approve": "ask", "approvers": ["ann", "bob"], "approvals_needed": 2}
    with node(homes, agreement, **changes) as (line, folder):
        until((folder / "agreement.json").exists)
        settings = NodeHome(homes.party("social")).settings
        decide(folder, settings, "approve", by="ann")
        rounds.go_by()
        assert line.said.empty()
        decide(folder, settings, "approve", by="bob")
        kind, run_id, signature = line.said.get(timeout=10)
    assert (kind, run_id) == ("signed", agreement.run_id)
    verify_signature(agreement, "social", signature)


def test_a_rejection_reaches_the_others_with_its_reason(homes: DemoHomes, agreement: Agreement) -> None:
    with node(homes, agreement, approve="ask") as (line, folder):
        until((folder / "agreement.json").exists)
        decide(folder, NodeHome(homes.party("social")).settings, "reject", by="ann", why="too wide")
        assert line.said.get(timeout=10) == ("rejected", agreement.run_id, "too wide")


def closed_now() -> str:
    """Hours of the day that begin far from now."""
    now = datetime.now(UTC)
    return f"{now + timedelta(hours=6):%H:%M}-{now + timedelta(hours=8):%H:%M}"


def test_outside_its_hours_a_node_neither_signs_nor_begins(
    homes: DemoHomes, agreement: Agreement, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = Rounds(monkeypatch, RunApprovals, "_look")
    with node(homes, agreement, approve="automatic", limits={"hours": closed_now()}) as (line, folder):
        until((folder / "agreement.json").exists)
        line.inbox.put(Command(StartBody(phase="align", attempt=1, signatures={}), agreement.run_id))
        kind, _, reason = line.said.get(timeout=10)
        assert kind == "failed"
        assert "in its own hours only" in reason
        rounds.go_by()
        assert line.said.empty()


@pytest.mark.parametrize("unnamed", ["accepts", "counterparties"])
def test_what_the_standing_limits_do_not_name_waits_for_a_person(
    homes: DemoHomes, agreement: Agreement, monkeypatch: pytest.MonkeyPatch, unnamed: str
) -> None:
    rounds = Rounds(monkeypatch, RunApprovals, "_look")
    limits = NodeHome(homes.party("social")).settings.limits.model_dump(exclude_defaults=True)
    kept = {key: value for key, value in limits.items() if key != unnamed}
    with node(homes, agreement, approve="automatic", whole_limits=kept) as (line, folder):
        until((folder / "agreement.json").exists)
        rounds.go_by()
        assert line.said.empty()
        decide(folder, NodeHome(homes.party("social")).settings, "approve", by="ann")
        assert line.said.get(timeout=10)[0] == "signed"


def test_within_its_hours_a_node_signs_by_itself(homes: DemoHomes, agreement: Agreement) -> None:
    now = datetime.now(UTC)
    hours = f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"
    with node(homes, agreement, approve="automatic", limits={"hours": hours}) as (line, _):
        assert line.said.get(timeout=10)[0] == "signed"
