"""The coordinator as a process: gRPC on loopback, nodes that attach and report, the typed client."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parties.agreement.document import Agreement
from parties.client import ADMIN, Client, FactorsQuestion
from parties.control.commands import AbortBody, Command
from parties.control.reports import ProgressBody
from parties.coordinator.events import Event, PhaseDone, Proposed, Signed
from parties.coordinator.run_actions import AskApproval, Settle, StartPhase
from parties.coordinator.service import Coordinator
from parties.coordinator.settings import CoordinatorSettings
from parties.coordinator.state import step
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, ConfigError, EntenteError, PeerError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.coordinator_line import CoordinatorLine
from parties.process.database import open_engine
from parties.transport.to_coordinator import Connection, CoordinatorAway
from parties.wire.gen import coordinator_pb2 as wire
from tests.parties.coordinator_rig import (
    PARTIES,
    REPORTS,
    Consortium,
    FakeNode,
    wait_for_status,
    wait_until,
)


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


@contextmanager
def nodes(consortium: Consortium, *names: str, **special: FakeNode) -> Iterator[dict[str, FakeNode]]:
    with ExitStack() as stack:
        yield {n: stack.enter_context(special.get(n) or FakeNode(consortium, n)) for n in names or PARTIES}


def test_a_run_from_proposal_to_settlement(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.client() as client, nodes(consortium) as parties:
        agreement = consortium.agreement()
        run_id = client.propose(agreement)
        assert run_id == agreement.run_id
        assert client.propose(agreement) == run_id
        run = wait_for_status(client, run_id, "settled", "aborted")
        assert run.reason == ""
        for node in parties.values():
            wait_until(lambda node=node: bool(node.told("finished")), "finished at every node")  # type: ignore[misc]
            assert len(node.told("approve")) == 1

        assert Agreement.model_validate(run.agreement).run_id == run_id
        assert [p.name for p in run.phases] == ["approve", "align", "train", "evaluate", "value", "export", "settle"]
        assert {p.status for p in run.phases} == {"done"}
        assert all(p.seconds is not None for p in run.phases)
        assert {s.party for s in run.signatures} == set(PARTIES)
        assert run.progress == 1.0
        assert run.n_common == 40
        assert run.evaluation is not None
        assert (run.evaluation.ic_joint, run.evaluation.t_joint) == (0.12, 2.5)
        assert [(p.period, p.ic_joint, p.ic_own) for p in run.series] == [
            ("2020Q2", 0.11, 0.04),
            ("2020Q3", 0.13, None),
        ]
        assert [(o.party, o.limit, o.max_used) for o in run.openings] == [("card", 6, 4), ("sat", 6, 4)]
        assert {(b.party, b.message, b.bytes, b.messages) for b in run.bytes_by_message} == {
            (name, "matmul.product", 1500, 5) for name in PARTIES
        }
        assert run.contribution_way == "masked"
        assert {c.party: (c.shapley, c.reward) for c in run.contributions} == {
            "sat": (0.03, 7501),
            "card": (0.01, 2500),
        }
        assert run.transactions == (f"settlement/{run_id}",)

        assert [r.run_id for r in client.runs()] == [run_id]
        (factor,) = client.factor_page(FactorsQuestion()).cards
        assert (factor.factor_id, factor.available, factor.rows) == ("joint-1", False, 80)
        with pytest.raises(ConfigError, match="not kept here"):
            client.download_factor(run_id)
        ledger = client.ledger()
        assert ledger.balanced
        assert (ledger.total_transactions, ledger.total_postings) == (1, 3)
        pending = {b.account: b.pending for b in ledger.balances if b.pending}
        assert pending["Liabilities:Party:sat:Pending"] == 7501
        assert pending["Expenses:Reward"] == 10_001
        assert sum(p.minor for p in ledger.postings) == 0
        assert {p.state for p in ledger.postings} == {"pending"}
        assert client.ledger(run_id).postings == ledger.postings
        views = client.parties()
        assert {(v.name, v.role, v.health) for v in views} == {
            ("bank", "label", "online"), ("sat", "feature", "online"), ("card", "feature", "online"),
        }  # fmt: skip
        assert all(v.certificate_expires is not None for v in views)
        events = client.events(run_id)
        assert [e.sequence for e in events] == list(range(1, len(events) + 1))
        assert (events[0].text, events[-1].text) == ("proposed by admin", "coordinator finished settle")
        assert client.events(after=events[-2].sequence) == events[-1:]
        about = client.coordinator()
        assert (about.runs, about.runs_in_progress, about.parties_online) == (1, 0, 3)


def test_a_rejection_reaches_everyone_in_the_partys_own_words(consortium: Consortium) -> None:
    def refuse(node: FakeNode, command: Command) -> bool:
        if command.kind == "approve":
            node.line.rejected(command.run_id, "column <script> is not licensed")
        return True

    picky = FakeNode(consortium, "sat", refuse)
    with consortium.coordinator(), consortium.client() as client, nodes(consortium, sat=picky) as parties:
        run_id = client.propose(consortium.agreement())
        run = wait_for_status(client, run_id, "aborted")
        assert run.reason == "sat rejected the agreement: column <script> is not licensed"
        assert run.culprit == "sat"
        for node in parties.values():
            wait_until(lambda node=node: bool(node.told("abort")), "abort at every node")  # type: ignore[misc]
            assert node.told("abort")[0].body == AbortBody(reason=run.reason, culprit="sat")


def test_a_failure_ends_the_run_once_and_names_the_culprit(consortium: Consortium) -> None:
    def fail(node: FakeNode, command: Command) -> bool:
        if command.kind == "start" and command.body.phase == "train":
            node.line.failed(command.run_id, "train", 1, "card sent a frame of the wrong length", "card")
            return True
        return False

    with (
        consortium.coordinator(),
        consortium.client() as client,
        nodes(consortium, bank=FakeNode(consortium, "bank", fail), sat=FakeNode(consortium, "sat", fail)) as parties,
    ):
        run_id = client.propose(consortium.agreement())
        run = wait_for_status(client, run_id, "aborted")
        assert run.culprit == "card"
        assert run.reason.endswith("stopped in train: card sent a frame of the wrong length")
        assert {p.name: p.status for p in run.phases}["train"] == "failed"
        wait_until(lambda: all(len(node.told("abort")) == 1 for node in parties.values()), "one abort at every node")
        assert len([e for e in client.events(run_id) if e.kind == "phase_failed"]) == 1


def test_the_culprits_own_reason_comes_before_its_peers_guesses(consortium: Consortium) -> None:
    """Two peers notice first; the third, whom they name, says what really happened."""
    noticed = threading.Barrier(3)

    def notice(node: FakeNode, command: Command) -> bool:
        if command.kind != "start" or command.body.phase != "train":
            return False
        if node.name == "sat":
            noticed.wait(20)
            node.line.failed(command.run_id, "train", 1, "its disk is full")
        else:
            node.line.failed(command.run_id, "train", 1, "'sat' has stopped its part of the run", "sat")
            noticed.wait(20)
        return True

    special = {name: FakeNode(consortium, name, notice) for name in PARTIES}
    with consortium.coordinator(), consortium.client() as client, nodes(consortium, **special):
        run = wait_for_status(client, client.propose(consortium.agreement()), "aborted")
        assert run.reason == "sat stopped in train: its disk is full"
        assert run.culprit == "sat"


def test_a_silent_party_pauses_the_run_and_its_return_continues_it(consortium: Consortium) -> None:
    """Its line is cut without a word, as when its process is killed."""
    started = threading.Event()

    def vanish(node: FakeNode, command: Command) -> bool:
        if command.kind == "start" and command.body.phase == "train":
            started.set()
            return True
        return False

    with consortium.coordinator(), consortium.client() as client, nodes(consortium, "bank", "sat") as parties:
        with FakeNode(consortium, "card", vanish):
            run_id = client.propose(consortium.agreement(silence_seconds=1))
            assert started.wait(20)
        run = wait_for_status(client, run_id, "paused")
        assert (run.phase, run.waiting_for, run.reason) == ("train", ("card",), "")
        assert not any(node.told("abort") for node in parties.values())
        assert {v.name: v.health for v in client.parties()} == {"bank": "online", "sat": "online", "card": "offline"}
        with FakeNode(consortium, "card"):
            assert wait_for_status(client, run_id, "settled", "aborted").reason == ""
        attempts = [c.body.attempt for c in parties["sat"].told("start") if c.body.phase == "train"]
        assert attempts == [1, 2]
        [before], [after] = ([p for p in view.phases if p.name == "train"] for view in (run, client.run(run_id)))
        assert (before.attempt, after.attempt) == (2, 2)
        assert (after.seconds or 0.0) >= 1.0, "the attempt that waited for card in vain counts too"


def test_an_absent_party_pauses_the_proposal_until_it_comes(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.client() as client, nodes(consortium, "bank", "sat"):
        run_id = client.propose(consortium.agreement(silence_seconds=1))
        run = wait_for_status(client, run_id, "paused")
        assert run.waiting_for == ("card",)
        with FakeNode(consortium, "card"):
            assert wait_for_status(client, run_id, "settled", "aborted").reason == ""


def test_a_proposal_nobody_answers_expires(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.client() as client:
        agreement = consortium.agreement(expires_at=datetime.now(UTC) + timedelta(seconds=1))
        run = wait_for_status(client, client.propose(agreement), "aborted")
        assert run.reason == "the agreement expired while waiting for bank, sat, card"


def test_a_restarted_node_takes_the_run_up(consortium: Consortium) -> None:
    started = threading.Event()

    def hang(node: FakeNode, command: Command) -> bool:
        if command.kind == "start":
            started.set()
            return True
        return False

    with consortium.coordinator(), consortium.client() as client, nodes(consortium, "bank", "sat"):
        with FakeNode(consortium, "card", hang):
            run_id = client.propose(consortium.agreement())
            assert started.wait(20)
        with FakeNode(consortium, "card") as card:
            assert wait_for_status(client, run_id, "settled", "aborted").reason == ""
        assert card.told("start")[0].body.attempt == 2


def test_admin_and_parties_may_cancel_and_strangers_may_not(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.client() as client:
        run_id = client.propose(consortium.agreement())
        client.cancel(run_id, "wrong calendar")
        assert client.run(run_id).reason == "cancelled by admin: wrong calendar"
        client.cancel(run_id, "again")
        assert client.run(run_id).reason == "cancelled by admin: wrong calendar"

        second = client.propose(consortium.agreement(nonce="2"))
        with Client("", consortium.home("sat"), name="sat") as party:
            party.cancel(second, "plug pulled")
            assert client.run(second).reason == "cancelled by sat: plug pulled"
            assert {run.run_id for run in party.runs()} == {run_id, second}
            assert party.run(second).reason == "cancelled by sat: plug pulled"
            with pytest.raises(AgreementError, match="takes admin or auditor"):
                party.ledger()
            with pytest.raises(AgreementError, match="may not do this"):
                party.propose(consortium.agreement(nonce="3"))
        with pytest.raises(ConfigError, match="there is no run"):
            client.cancel("0" * 64, "no")


def test_a_party_speaks_only_for_itself_and_only_sense(consortium: Consortium) -> None:
    """Whatever a hostile node sends is refused with one sentence and leaves no event."""
    hold = FakeNode(consortium, "sat", lambda node, command: True)
    with consortium.coordinator(), consortium.client() as client, hold:
        run_id = client.propose(consortium.agreement())
        connection = Connection("", consortium.home("sat"), "sat")

        def say(kind: str, body: bytes, run: str = run_id) -> None:
            connection.call("Report", wire.PartyReport(kind=kind, run_id=run, body=body), wire.Receipt, timeout=10)

        for kind, body, words in (
            ("signed", b'{"signature": "%s"}' % (b"ab" * 64), "the signature of 'sat' does not fit"),
            ("signed", b'{"signature": "zz"}', "signature: String should match"),
            ("signed", b"not json", "Invalid JSON"),
            ("done", b'{"phase": "train", "attempt": 1, "report": {}}', "sat reports train attempt 1 while"),
            ("done", b'{"phase": "approve", "attempt": 1}', "no party reports on"),
            ("done", b'{"phase": "align", "attempt": 1, "report": {"n_common": -1, "set_size": 1}}', "n_common"),
            ("done", b'{"phase": "value", "attempt": 1, "report": {"contribution": {}}}', "contribution.method"),
            ("progress", b'{"phase": "train", "attempt": 1, "done": 1, "total": 1, "metrics": {"a": 1e999}}', "finite"),
            ("rejected", b'{"why": "%s"}' % (b"x" * 3000), "at most 2000"),
            ("nonsense", b"{}", "of a kind that does not exist"),
        ):
            with pytest.raises(AgreementError, match=words):
                say(kind, body)
        with pytest.raises(ConfigError, match="there is no run"):
            say("signed", b'{"signature": "%s"}' % (b"ab" * 64), "1" * 64)
        assert [e.kind for e in client.events(run_id)] == ["proposed"]
        connection.close()
        with pytest.raises(PeerError, match="closed"):
            say("heartbeat", b"{}")

        admin = Connection("", consortium.home(ADMIN), ADMIN)
        with pytest.raises(AgreementError, match="admin is no party"):
            admin.call("Report", wire.PartyReport(kind="heartbeat", body=b"{}"), wire.Receipt, timeout=10)
        with pytest.raises(AgreementError, match="admin is no party"):
            next(admin.stream("Attach", wire.AttachRequest(), wire.Command, timeout=10))
        admin.close()


def test_proposals_must_fit_the_roster(consortium: Consortium, tmp_path: Path) -> None:
    stranger = create_identity("thief", tmp_path / "elsewhere")
    with consortium.coordinator(), consortium.client() as client:
        good = consortium.agreement()
        forged = good.parties[1].model_copy(update={"identity_key": stranger.public_key})
        unknown = good.parties[1].model_copy(update={"name": "thief"})
        for changes, words in (
            ({"parties": (good.parties[0], forged, good.parties[2])}, "keys of sat are not those"),
            ({"parties": (good.parties[0], unknown, good.parties[2]), "recipients": ()}, "thief is not in the"),
            ({"coordinator_certificate_sha256": "00" * 32}, "another coordinator certificate"),
            ({"expires_at": datetime.now(UTC) - timedelta(seconds=1)}, "has expired"),
        ):
            with pytest.raises(AgreementError, match=words):
                client.propose(consortium.agreement(**changes))
        assert client.runs() == []


def test_live_progress_shows_speed_and_series(consortium: Consortium) -> None:
    release = threading.Event()

    def train_slowly(node: FakeNode, command: Command) -> bool:
        if command.kind != "start" or command.body.phase != "train":
            return False
        threading.Thread(target=work, args=(node, command), daemon=True).start()
        return True

    def work(node: FakeNode, command: Command) -> None:
        for number in range(1, 1000):
            metrics = {"period": float(number % 3), "loss": 1.0 / number}
            node.line.progress(
                command.run_id,
                ProgressBody.model_validate(
                    {
                        "phase": "train", "attempt": 1, "done": number * 10, "total": 20_000, "metrics": metrics,
                        "openings": {"limit": 6, "max_used": 2},
                    }
                ),
            )  # fmt: skip
            if release.wait(0.05):
                break
        node.answer(command)

    bank = FakeNode(consortium, "bank", train_slowly)
    with consortium.coordinator(), consortium.client() as client, nodes(consortium, bank=bank):
        run_id = client.propose(consortium.agreement())

        def speed_shown() -> bool:
            view = {p.name: p for p in client.run(run_id).phases}["train"].progress
            return bool(view) and view[0].per_second is not None

        wait_until(speed_shown, "rows per second")
        run = client.run(run_id)
        (progress,) = {p.name: p for p in run.phases}["train"].progress
        assert progress.party == "bank"
        assert 0 < progress.fraction < 1
        assert progress.eta_seconds is not None
        assert progress.per_second is not None
        assert progress.eta_seconds == pytest.approx((progress.total - progress.done) / progress.per_second)
        assert 0 < run.progress < 1
        assert run.status == "aligned"
        assert run.waiting_for == ("bank",)
        assert all(point.loss is not None and point.openings == 2 for point in run.series)
        assert run.series
        release.set()
        assert wait_for_status(client, run_id, "settled", "aborted").reason == ""


def test_a_restart_keeps_the_past_and_takes_up_what_was_under_way(consortium: Consortium) -> None:
    hang = FakeNode(consortium, "sat", lambda node, command: command.run_id == stuck and command.kind == "start")
    stuck = consortium.agreement(nonce="2").run_id
    with consortium.coordinator() as running, consortium.client() as client, nodes(consortium, sat=hang):
        done = client.propose(consortium.agreement())
        settled = wait_for_status(client, done, "settled")
        agreement = consortium.agreement(nonce="3")
        stuck = client.propose(agreement)
        wait_until(lambda: client.run(stuck).phase == "align" and bool(hang.told("start")), "align under way")
        crash(running)

    with consortium.coordinator(), consortium.client() as client:
        run = client.run(stuck)
        assert (run.status, run.waiting_for) == ("paused", PARTIES)
        assert client.run(done) == settled
        assert client.ledger().balanced
        assert [r.run_id for r in client.runs()] == [stuck, done]
        with nodes(consortium):
            assert wait_for_status(client, stuck, "settled", "aborted").reason == ""


def test_a_settlement_cut_off_by_a_crash_is_done_once(consortium: Consortium) -> None:
    """The log ends where the settlement was under way; the ledger may or may not have it already."""
    agreement = consortium.agreement()
    path = consortium.home(COORDINATOR) / "coordinator.db"
    log = EventLog(open_engine(f"sqlite:///{path}"))
    event: Event = Proposed(agreement.run_id, datetime.now(UTC), agreement.canonical().decode())
    state, actions = step(None, event)
    log.append(event)
    todo = list(actions)
    while not isinstance(action := todo.pop(0), Settle):
        now = datetime.now(UTC)
        if isinstance(action, AskApproval):
            event = Signed(state.run, now, action.party, "ab" * 64)
        else:
            assert isinstance(action, StartPhase)
            report = REPORTS[action.phase](action.party)
            event = PhaseDone(state.run, now, action.party, action.phase, 1, report)
        state, new = step(state, event)
        log.append(event)
        todo.extend(new)
    log.close()

    ledgers = []
    for _ in range(3):
        with consortium.coordinator(), consortium.client() as client:
            assert client.run(agreement.run_id).status == "settled"
            ledgers.append(client.ledger())
        with sqlite3.connect(path) as database:
            database.execute("DELETE FROM run_events WHERE kind = 'coordinator_done'")
        database.close()
    assert ledgers[0].total_transactions == 1
    assert ledgers[0] == ledgers[1] == ledgers[2]


def crash(coordinator: Coordinator) -> None:
    """Stop serving without a word, as a killed process would."""
    coordinator._stopping.set()
    coordinator._server.close()


def test_a_stopped_coordinator_leaves_the_run_waiting(consortium: Consortium) -> None:
    hang = FakeNode(consortium, "sat", lambda node, command: command.kind == "start")
    with nodes_of_stopped(consortium, hang) as (coordinator, parties):
        coordinator.stop()
        assert not any(node.told("abort") for node in parties.values())
    with consortium.coordinator(), consortium.client() as client:
        [run] = client.runs()
        assert (run.status, run.waiting_for) == ("paused", PARTIES)


@contextmanager
def nodes_of_stopped(consortium: Consortium, hang: FakeNode) -> Iterator[tuple[Coordinator, dict[str, FakeNode]]]:
    with consortium.coordinator() as running, consortium.client() as client, nodes(consortium, sat=hang) as parties:
        run_id = client.propose(consortium.agreement())
        wait_until(lambda: client.run(run_id).phase == "align", "align under way")
        yield running, parties


def test_a_lost_coordinator_ends_the_run_at_the_nodes(consortium: Consortium) -> None:
    """The node itself says so, within the agreed silence, when nobody answers any more."""
    hang = FakeNode(consortium, "sat", lambda node, command: command.kind == "start")
    with consortium.coordinator() as running, consortium.client() as client, nodes(consortium, sat=hang) as parties:
        run_id = client.propose(consortium.agreement(silence_seconds=1))
        wait_until(lambda: client.run(run_id).phase == "align", "align under way")
        crash(running)
        wait_until(lambda: all(node.told("abort") for node in parties.values()), "abort at every node")
        body = parties["bank"].told("abort")[0].body
        assert body.culprit == COORDINATOR
        assert body.reason.startswith("the coordinator has been silent for")


def test_the_line_attaches_again_and_reports_survive_the_gap(consortium: Consortium) -> None:
    agreement = consortium.agreement()
    with consortium.coordinator() as first:
        address = first.address
    consortium.write_rosters(address)
    line = CoordinatorLine("sat", consortium.home("sat"))
    failures: list[EntenteError] = []

    def reject() -> None:
        try:
            line.rejected(agreement.run_id, "no")
        except EntenteError as error:
            failures.append(error)

    with line:
        speaker = threading.Thread(target=reject)
        speaker.start()
        assert not line.wait_attached(0.5)
        with consortium.coordinator(listen=address), consortium.client() as client:
            assert line.wait_attached(20)
            speaker.join(20)
            assert [type(f) for f in failures] == [AgreementError]
            assert "never proposed here" in str(failures[0])
            client.propose(agreement)
            command = next(told for told in line.commands() if told.kind != "roster")
            assert (command.kind, command.run_id) == ("approve", agreement.run_id)
            reject()
            assert client.run(agreement.run_id).status == "aborted"


def test_credentials_decide(consortium: Consortium, tmp_path: Path) -> None:
    with pytest.raises(CoordinatorAway, match=r"cannot be reached: check the address"), consortium.client() as client:
        client.runs()
    with consortium.coordinator() as running:
        home = tmp_path / "thief"
        create_identity(ADMIN, home / "keys", hosts=["127.0.0.1"])
        (home / "roster.json").write_bytes((consortium.home(ADMIN) / "roster.json").read_bytes())
        with pytest.raises(PeerError, match="its roster lacks"), Client(running.address, home) as client:
            client.runs()

        other = create_identity(COORDINATOR, tmp_path / "other")
        roster = Roster({COORDINATOR: other.member(running.address)})
        roster.save(home / "roster.json")
        with pytest.raises(ConfigError, match="do not accept each other"), Client("", home) as client:
            client.runs()
        line = CoordinatorLine(ADMIN, home)
        with line, pytest.raises(ConfigError, match="do not accept each other"):
            next(line.commands())
    with pytest.raises(ConfigError, match=r"roster\.json: no such file"):
        (home / "roster.json").unlink()
        Client("", home)


def test_a_home_with_the_wrong_certificate_does_not_start(consortium: Consortium, tmp_path: Path) -> None:
    other = create_identity(COORDINATOR, tmp_path / "other")
    Roster({COORDINATOR: other.member("127.0.0.1:1")}).save(consortium.home(COORDINATOR) / "roster.json")
    with pytest.raises(ConfigError, match="another certificate for the coordinator"):
        Coordinator(consortium.home(COORDINATOR))


def test_a_taken_port_is_named_and_nothing_stays_open(consortium: Consortium) -> None:
    with consortium.coordinator() as running:
        before = {thread.name for thread in threading.enumerate()}
        with pytest.raises(ConfigError, match="another program may use it"):
            Coordinator(consortium.home(COORDINATOR), CoordinatorSettings(listen=running.address))
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:99999: ports end at 65535"):
            Coordinator(consortium.home(COORDINATOR), CoordinatorSettings(listen="127.0.0.1:99999"))
        assert {thread.name for thread in threading.enumerate()} <= before


def test_a_report_that_makes_no_sense_ends_the_run(consortium: Consortium) -> None:
    """Otherwise the others would wait for a party that believes it is finished."""
    refused: list[str] = []

    def mumble(node: FakeNode, command: Command) -> bool:
        if command.kind != "start":
            return False
        try:
            node.line.done(command.run_id, "align", 1, {"n_common": "many", "set_size": 3})
        except AgreementError as error:
            refused.append(str(error))
        return True

    sat = FakeNode(consortium, "sat", mumble)
    with consortium.coordinator(), consortium.client() as client, nodes(consortium, sat=sat):
        run = wait_for_status(client, client.propose(consortium.agreement()), "aborted")
        assert run.culprit == "sat"
        assert run.reason.startswith("sat stopped in align: sat's report on align: n_common: ")
        wait_until(lambda: bool(refused), "refusal at the party")
