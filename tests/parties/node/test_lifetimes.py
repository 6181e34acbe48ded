"""What a node keeps of a run that is over, and what a coordinator that cannot be reached does to it: nothing."""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement, verify_signature
from parties.control.commands import AbortBody, ApproveBody, Command, FinishedBody, StartBody
from parties.control.phases import PhaseName
from parties.data.simulate import Simulated, simulate
from parties.demo.homes import DemoHomes, lay_out
from parties.errors import AgreementError, PeerError, StorageError
from parties.names import NOBODY
from parties.node import run_approvals, run_thread
from parties.node.asked_runs import asked_runs
from parties.node.decisions import decide
from parties.node.home import NodeHome
from parties.node.node import Node
from parties.node.run_ends import kept_end
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import ConsortiumSettings, load_consortium
from parties.settings.toml_text import to_toml
from psi.flow import RemoteProtocolError, UnattributedError

RUNS = 20 if os.environ.get("ENTENTE_LONG") else 4
PANEL_BYTES = 8 << 20


class Line:
    """Hands out what it is given; ``away`` reports in a row meet a coordinator that cannot be reached."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Command | None] = queue.Queue()
        self.said: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.refusals: list[Exception] = []

    def commands(self) -> Iterator[Command]:
        return iter(self.inbox.get, None)

    def _say(self, *what: Any) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.said.put(what)

    def signed(self, run_id: str, signature: str) -> None:
        self._say("signed", run_id, signature)

    def links(self, run_id: str, said: Any) -> None:
        """What answered at the peers' addresses comes before an answer, and is none."""

    def data_checked(self, *, usable: bool) -> None:
        """Nor is this."""

    def rejected(self, run_id: str, why: str) -> None:
        self._say("rejected", run_id, why)

    def done(self, run_id: str, phase: str, attempt: int, report: Any) -> None:
        self._say("done", run_id, phase, attempt)

    def rows(self, told: Any) -> None:
        """Commitments to rows come on their own and are no answer."""

    def failed(self, run_id: str, phase: str, attempt: int, reason: str, peer: str = "", **_: Any) -> None:
        self._say("failed", run_id, phase, attempt, reason)


PANELS: list[weakref.ref[Any]] = []


class HoldingRun:
    """Takes a party's place in a run: holds a panel and a key for as long as it is held itself."""

    def __init__(self, context: Any, signatures: Any) -> None:
        self.panel = np.zeros(PANEL_BYTES, dtype=np.uint8)
        self.panel[:] = 1
        PANELS.append(weakref.ref(self))

    def perform(self, phase: str, attempt: int) -> dict[str, Any]:
        return {"seconds": 0.0} | ({"n_common": 1, "set_size": 1} if phase == "align" else {})


class FailingRun(HoldingRun):
    def perform(self, phase: str, attempt: int) -> dict[str, Any]:
        raise RuntimeError("injected")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate(tmp_path_factory.mktemp("data"), entities=40, periods=16, parties=2, seed=1, model="split")


@pytest.fixture(scope="module")
def settings(simulated: Simulated) -> ConsortiumSettings:
    return load_consortium(simulated.config)


@pytest.fixture(scope="module")
def homes(simulated: Simulated, settings: ConsortiumSettings, tmp_path_factory: pytest.TempPathFactory) -> DemoHomes:
    out = tmp_path_factory.mktemp("homes") / "out"
    return lay_out(out, settings, simulated.config.parent, simulated.data, 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_approvals, "_TROUBLE_SECONDS", 0.05)
    PANELS.clear()


def proposal(settings: ConsortiumSettings, homes: DemoHomes, number: int) -> Agreement:
    made = agreement_of(settings, homes.roster, datetime.now(UTC), timedelta(minutes=5))
    return made.model_copy(update={"nonce": f"{number}", "purpose": f"run {number}"})


def signatures(homes: DemoHomes, agreement: Agreement) -> dict[str, str]:
    return {
        party.name: sign_agreement(NodeHome(homes.party(party.name)).identity.key, agreement)
        for party in agreement.parties
    }


@contextmanager
def serving(homes: DemoHomes, **changes: Any) -> Iterator[tuple[Line, threading.Thread, Path]]:
    """A node at work, its thread and its folder; it must still be at work at the end."""
    home = homes.party("social")
    before = (home / "node.toml").read_text()
    record = NodeHome(home).settings.model_dump(mode="json", exclude_unset=True)
    (home / "node.toml").write_text(to_toml({**record, "approve": "automatic", **changes}))
    line = Line()
    thread = threading.Thread(target=Node(NodeHome(home), cast(Any, None), cast(Any, line)).serve)
    thread.start()
    try:
        yield line, thread, home
        assert thread.is_alive(), "the node has ended"
    finally:
        line.inbox.put(None)
        thread.join(20)
        (home / "node.toml").write_text(before)
    assert not thread.is_alive()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.01)


def approve(line: Line, agreement: Agreement) -> None:
    line.inbox.put(Command(ApproveBody(agreement=agreement.model_dump(mode="json")), agreement.run_id))


@pytest.mark.parametrize("ends", ["finished", "abort"])
def test_runs_leave_no_thread_and_no_panel(
    ends: str, settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_thread, "PartyRun", HoldingRun)
    with serving(homes) as (line, _, _home):
        threads, sizes = [], []
        tracemalloc.start()
        try:
            for number in range(RUNS):
                agreement = proposal(settings, homes, number)
                approve(line, agreement)
                assert line.said.get(timeout=100)[0] == "signed"
                start = StartBody(phase="align", attempt=1, signatures=signatures(homes, agreement))
                line.inbox.put(Command(start, agreement.run_id))
                assert line.said.get(timeout=100)[:2] == ("done", agreement.run_id)
                over = FinishedBody(settlement_sha256="00" * 32) if ends == "finished" else AbortBody(reason="enough")
                line.inbox.put(Command(over, agreement.run_id))
                name = f"run {agreement.run_id[:12]}"
                until(lambda name=name: name not in {t.name for t in threading.enumerate()}, "the run's thread ends")  # type: ignore[misc]
                gc.collect()
                threads.append(threading.active_count())
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert len(PANELS) == RUNS
        assert [seen() for seen in PANELS] == [None] * RUNS, "no run's data outlives it"
        assert threads[-1] == threads[0]
        assert sizes[-1] - sizes[1] < PANEL_BYTES // 4, "nothing of a run's size stays"


def test_an_approval_outlives_a_coordinator_that_cannot_be_reached(
    settings: ConsortiumSettings, homes: DemoHomes
) -> None:
    """The operators decide once, while nothing can be delivered: the signature arrives when something can."""
    agreement = proposal(settings, homes, 100)
    with serving(homes, approve="ask") as (line, _, home):
        line.refusals = [PeerError("away"), PeerError("away"), StorageError("its disk is full")]
        approve(line, agreement)
        folder = home / "runs" / agreement.run_id
        until((folder / "agreement.json").exists, "the agreement is kept")
        decide(folder, NodeHome(home).settings, "approve", by="ann")
        kind, run_id, signature = line.said.get(timeout=100)
    assert (kind, run_id) == ("signed", agreement.run_id)
    verify_signature(agreement, "social", signature)
    assert line.refusals == []


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_purpose(
    settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement, unseen = proposal(settings, homes, 150), "cd" * 32
    begun, over, look = threading.Event(), threading.Event(), run_approvals.check_ready

    def held_up(*given: Any) -> Any:
        begun.set()
        assert over.wait(100)
        return look(*given)

    monkeypatch.setattr(run_approvals, "check_ready", held_up)
    with serving(homes) as (line, _, home):
        approve(line, agreement)
        assert begun.wait(100)
        for run_id in (agreement.run_id, unseen):
            line.inbox.put(Command(AbortBody(reason="web rejected: no"), run_id))
        until(lambda: kept_end(home / "runs" / unseen) is not None, "both ends are kept")
        over.set()
    assert not (home / "runs" / agreement.run_id / "agreement.json").exists()
    told = {one.run_id: (one.status, one.purpose, one.reason) for one in asked_runs(home)}
    assert told[agreement.run_id] == ("aborted", "run 150", "web rejected: no")
    assert told[unseen] == ("aborted", "", "web rejected: no"), "of this one no agreement came"


@pytest.mark.parametrize(
    "trouble",
    [AgreementError("refused"), RuntimeError("injected"), PeerError("away")],
    ids=lambda one: type(one).__name__,
)
def test_a_report_that_cannot_be_delivered_does_not_end_the_node(
    trouble: Exception, settings: ConsortiumSettings, homes: DemoHomes
) -> None:
    agreement = proposal(settings, homes, 200)
    with serving(homes) as (line, _, _home):
        line.refusals = [trouble]
        start = StartBody(phase="align", attempt=1, signatures={})
        line.inbox.put(Command(start, "ab" * 32))  # nobody approved it, which is reported, in vain
        until(lambda: not line.refusals, "the report was tried")
        approve(line, agreement)
        said = [line.said.get(timeout=100)]
        if isinstance(trouble, PeerError):
            assert said[0][:2] == ("failed", "ab" * 32), "it is said again"
            said = [line.said.get(timeout=100)]
        assert said[0][:2] == ("signed", agreement.run_id)


def test_a_full_disk_puts_an_approval_off(
    settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement = proposal(settings, homes, 300)
    write, full = run_approvals.write_private, [OSError(28, "No space left on device")] * 2

    def refuses(path: Path, content: bytes) -> None:
        if path.name == "agreement.json" and full:
            raise full.pop()
        write(path, content)

    monkeypatch.setattr(run_approvals, "write_private", refuses)
    with serving(homes) as (line, _, _home):
        approve(line, agreement)
        assert line.said.get(timeout=100)[:2] == ("signed", agreement.run_id)
    assert full == []


def test_a_fault_while_an_agreement_is_looked_at_is_a_rejection(
    settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(run_approvals, "check_ready", breaks)
    first, second = proposal(settings, homes, 400), proposal(settings, homes, 401)
    with serving(homes) as (line, _, _home), caplog.at_level(logging.ERROR):
        approve(line, first)
        kind, run_id, why = line.said.get(timeout=100)
        assert (kind, run_id) == ("rejected", first.run_id)
        assert why == "an internal error (RuntimeError): see the node's log"
        monkeypatch.undo()
        approve(line, second)
        assert line.said.get(timeout=100)[:2] == ("signed", second.run_id)


def test_a_fault_in_a_phase_fails_the_phase_and_not_the_thread(
    settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_thread, "PartyRun", FailingRun)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # a record that is kept would hold the run
    agreement = proposal(settings, homes, 500)
    with serving(homes) as (line, _, _home):
        approve(line, agreement)
        line.said.get(timeout=100)
        whole = signatures(homes, agreement)
        for attempt in (1, 2):
            line.inbox.put(Command(StartBody(phase="align", attempt=attempt, signatures=whole), agreement.run_id))
            said = line.said.get(timeout=100)
            assert said[:4] == ("failed", agreement.run_id, "align", attempt)
            assert said[4] == "an internal error (RuntimeError): see the node's log"
            gc.collect()
            assert PANELS[-1]() is None, "what a failed attempt held is let go of"


@pytest.mark.parametrize(("anew", "level"), [(False, "WARNING"), (True, "INFO")])
def test_a_peer_that_is_lost_is_a_warning_and_says_what_is_waited_for(
    anew: bool, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The run goes on later. What ends it here is an error."""
    caplog.set_level(logging.INFO, "parties")
    said: list[Any] = []
    context: Any = SimpleNamespace(
        run_id="ab" * 32, abort=said.append,
        audit=SimpleNamespace(append=lambda *_: None, head=lambda since: SimpleNamespace(model_dump=lambda mode: {})),
    )  # fmt: skip
    outbox: Any = SimpleNamespace(failed=lambda *told, lost: said.append((*told[2:], lost)))
    thread = run_thread.RunThread(context, {}, cast(Any, None), outbox)
    try:
        thread._fail("train", 1, PeerError("'card' cannot be reached", "card", anew=anew))
        thread._fail("train", 2, RemoteProtocolError("a message of a kind that is not in the register", "card"))
        thread._fail("train", 3, UnattributedError("one of several told a false hash"))
    finally:
        thread.end("the test is over")
        thread.join(10)
    waits = "" if anew else ". The run waits: train begins anew once everybody is there"
    assert [(one.levelname, one.getMessage()) for one in caplog.records if one.name == run_thread.__name__] == [
        (level, f"run abababababab: train stopped: 'card' cannot be reached{waits}"),
        ("ERROR", "run abababababab: train failed: card: a message of a kind that is not in the register"),
        ("ERROR", "run abababababab: train failed: one of several told a false hash"),
    ]
    assert said[2] == (3, "one of several told a false hash", NOBODY, False)
    assert said[0] == (1, "'card' cannot be reached", "card", True)


def test_a_command_that_fails_is_logged_and_the_next_is_taken(
    settings: ConsortiumSettings, homes: DemoHomes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr("parties.node.node.forget_steps", breaks)
    agreement = proposal(settings, homes, 600)
    with serving(homes) as (line, _, _home), caplog.at_level(logging.ERROR):
        line.inbox.put(Command(AbortBody(reason="enough"), "cd" * 32))
        approve(line, agreement)
        assert line.said.get(timeout=100)[:2] == ("signed", agreement.run_id)
    assert any("command to abort was not carried out" in record.getMessage() for record in caplog.records)


def test_a_phase_in_which_no_party_has_a_part_is_refused_by_its_name(
    settings: ConsortiumSettings, homes: DemoHomes
) -> None:
    """A coordinator that starts such a phase does not reach whatever the node may call by that name."""
    agreement = proposal(settings, homes, 700)
    with serving(homes) as (line, _, _home):
        approve(line, agreement)
        line.said.get(timeout=100)
        whole = signatures(homes, agreement)
        phases: tuple[PhaseName, ...] = ("approve", "settle")
        for phase in phases:
            line.inbox.put(Command(StartBody(phase=phase, attempt=1, signatures=whole), agreement.run_id))
            assert "in which no party has a part" in line.said.get(timeout=100)[4]
