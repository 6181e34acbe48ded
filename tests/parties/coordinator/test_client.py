"""The typed client: what it makes of answers, good and bad, and the views' own arithmetic."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest

from parties import client as module
from parties.client import (
    ADMIN,
    BalanceView,
    Client,
    ClientProtocol,
    CoordinatorView,
    FactorView,
    PhaseView,
    ProgressView,
    RunSummary,
    RunView,
)
from parties.errors import AgreementError, ConfigError, EntenteError, PeerError, StorageError
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.transport.grpc import ExchangeServer
from parties.transport.threads import apart
from parties.transport.to_coordinator import ERROR_KEY, SERVICE
from parties.wire.gen import coordinator_pb2 as wire
from tests.parties.coordinator_rig import Consortium

T0 = datetime(2026, 1, 5, tzinfo=UTC)

Answer = Callable[[wire.Query, Any], Iterator[wire.Chunk]]


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("homes"))


@contextmanager
def answering(consortium: Consortium, answer: Answer, **options: Any) -> Iterator[Client]:
    """A client of a coordinator that answers every reading call by ``answer``."""
    handler = grpc.unary_stream_rpc_method_handler(
        answer,
        request_deserializer=wire.Query.FromString,
        response_serializer=lambda chunk: chunk.SerializeToString(),
    )
    service = grpc.method_handlers_generic_handler(SERVICE, {"Read": handler, "FactorBundle": handler})
    roster = Roster.load(consortium.home(COORDINATOR) / "roster.json")
    identity = consortium.identities[COORDINATOR]
    with (
        ExchangeServer(identity, roster, "127.0.0.1:0", services=[service]) as server,
        Client(server.address, consortium.home(ADMIN), **options) as client,
    ):
        yield client


def saying(document: Any) -> Answer:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda query, context: iter([wire.Chunk(data=data[:3]), wire.Chunk(data=data[3:])])


SUMMARY = {"run_id": "a" * 64, "consortium": "c", "purpose": "p", "status": "trained", "proposed_at": T0.isoformat()}


def test_answers_come_in_pieces_and_a_newer_coordinators_keys_are_ignored(consortium: Consortium) -> None:
    with answering(consortium, saying([{**SUMMARY, "colour": "green"}])) as client:
        kept: ClientProtocol = client
        (run,) = kept.runs()
        assert isinstance(run, RunSummary)
        assert not run.ended
        assert client.download_factor("a" * 64)[:2] == b"[{"


@pytest.mark.parametrize("document", [b"", b"not json", [], {"name": 3}, {**SUMMARY, "status": "molten"}])
def test_an_answer_that_is_not_understood_is_a_peer_error(consortium: Consortium, document: Any) -> None:
    with answering(consortium, saying(document)) as client:
        for call in (client.coordinator, lambda: client.run("a" * 64)):
            with pytest.raises(PeerError, match=r"not understood .*: use one version on both sides"):
                call()


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("AgreementError", AgreementError),
        ("ConfigError", ConfigError),
        ("StorageError", StorageError),
        ("PeerError", PeerError),
        ("SystemExit", PeerError),
        ("__all__", PeerError),
    ],
)
def test_an_error_keeps_its_class_and_no_other_class_can_be_named(
    consortium: Consortium, named: str, expected: type[EntenteError]
) -> None:
    def refuse(query: wire.Query, context: Any) -> Iterator[wire.Chunk]:
        context.set_trailing_metadata(((ERROR_KEY, named),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the sentence")
        yield wire.Chunk()

    with answering(consortium, refuse) as client, pytest.raises(EntenteError) as caught:
        client.parties()
    assert type(caught.value) is expected
    if expected is not PeerError or named == "PeerError":
        assert str(caught.value) == "the sentence"


def test_a_coordinator_that_fails_or_dawdles_is_named(consortium: Consortium) -> None:
    def fail(query: wire.Query, context: Any) -> Iterator[wire.Chunk]:
        raise RuntimeError("internals")

    def dawdle(query: wire.Query, context: Any) -> Iterator[wire.Chunk]:
        while context.is_active():
            time.sleep(0.01)
        yield wire.Chunk()

    with answering(consortium, fail) as client, pytest.raises(PeerError, match=r"failed \(UNKNOWN\): see its log"):
        client.runs()
    with answering(consortium, dawdle, timeout=0.2) as client, pytest.raises(PeerError, match="did not answer in time"):
        client.ledger()
    client.close()
    with pytest.raises(PeerError, match="is closed"):
        client.runs()
    large = consortium.agreement(purpose="x" * 2_000_000)
    with answering(consortium, fail) as client, pytest.raises(PeerError, match="name fewer periods"):
        client.propose(large)


@pytest.mark.parametrize("name", ["nobody", "sat"])
def test_credentials_must_be_the_callers_own(consortium: Consortium, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made for another node than"):
        Client("", consortium.home(ADMIN), name=name)
    with pytest.raises(ConfigError, match="create this node's keys first"):
        Client("", tmp_path, name=name)


def test_every_view_is_exported() -> None:
    from parties.calls import views

    assert set(views.__all__) - {"View"} <= set(module.__all__)


def test_views_do_their_own_arithmetic() -> None:
    phase = PhaseView(name="train", status="done", started_at=T0, ended_at=T0 + timedelta(seconds=90))
    assert phase.seconds == 90.0
    assert PhaseView(name="train", status="running", started_at=T0).seconds is None
    assert ProgressView(party="a", phase="train", done=5, total=0, at=T0).fraction == 0.0
    assert ProgressView(party="a", phase="train", done=12, total=10, at=T0).fraction == 1.0
    balance = BalanceView(account="Assets:Consortium:Cash", unit="USD", scale=2, posted=12345, pending=-45)
    assert (balance.amount, balance.total) == (Decimal("123.45"), 12300)
    assert RunView(**SUMMARY).factor is None
    assert FactorView(run_id="a", factor_id="f").available is False
    with pytest.raises(ValueError, match="frozen"):
        phase.name = "x"
    view = CoordinatorView(
        name="n", version="1", started_at=T0, runs=1, runs_in_progress=0, parties_online=2
    )  # fmt: skip
    assert CoordinatorView.model_validate_json(view.model_dump_json()) == view


def test_a_signal_that_interrupts_a_call_leaves_a_connection_that_closes(consortium: Consortium) -> None:
    class Interrupted(Exception):
        pass

    def never(_: wire.Query, context: Any) -> Iterator[wire.Chunk]:
        signal.raise_signal(signal.SIGUSR1)
        while context.is_active():
            time.sleep(0.01)
        yield wire.Chunk()

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with answering(consortium, never) as client, pytest.raises(Interrupted):
            client.coordinator()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_calls_leave_the_main_thread_free_for_signals() -> None:
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert where()
    assert not apart(where)
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(lambda: (apart(threading.get_ident), threading.get_ident())).result()
    assert elsewhere[0] == elsewhere[1]
