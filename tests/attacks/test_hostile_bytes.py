"""Every decoder against hostile bytes: it parses or raises the documented error, within bounded memory."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import tracemalloc
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import vfl.register  # noqa: F401 - every message type of the product is declared
from parties.agreement.document import Agreement
from parties.control import orders, phase_reports, reports
from parties.control.commands import COMMANDS, Command, parse_command
from parties.control.parsing import parse
from parties.control.reports import REPORTS, parse_report
from parties.errors import AgreementError, PeerError
from parties.members.keys import create_identity
from parties.settings.consortium import TransportSettings
from parties.transport.channel import End, Frame, SessionTerms
from parties.transport.chunks import assemble, wire_frames
from parties.wire.codec import decode, encode
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import REGISTER, Payload, RemoteProtocolError, Role
from psi.group import split_points
from tests.attacks.rig import RING, key_for, secret
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.ring import unpack
from vfl.protocols.product import Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer
from vfl.terms import Terms

PRODUCT = sorted(name for name, kind in REGISTER.items() if kind.cls.__module__.partition(".")[0] in ("psi", "vfl"))
LIMIT = 2**20
SAMPLES: dict[Any, Any] = {
    int: 5,
    float: 0.5,
    bool: True,
    str: "text",
    bytes: bytes(range(40)),
    tuple[int, ...]: (1, 300, -7),
    tuple[float, ...]: (1.5, -2.5),
    tuple[str, ...]: ("a", "bc"),
    tuple[bytes, ...]: (b"", b"xyz"),
}


def sample(kind: str) -> bytes:
    cls = REGISTER[kind].cls
    hints = typing.get_type_hints(cls)
    return encode(cls(**{f.name: SAMPLES[hints[f.name]] for f in dataclasses.fields(cls)}))[1]  # type: ignore[arg-type]


def parses_or_refuses(kind: str, body: bytes) -> None:
    try:
        got = decode(kind, body, limit=LIMIT)
    except RemoteProtocolError:
        return
    assert encode(got) == (kind, body), "one message has one encoding"


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """The block allocates no more than ``size`` bytes at a time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def damaged(data: st.DataObject, body: bytes) -> bytes:
    """Cut, extended, overwritten or spliced with itself."""
    start = data.draw(st.integers(0, len(body)))
    stop = data.draw(st.integers(start, min(len(body), start + 12)))
    new = data.draw(st.one_of(st.binary(max_size=9), st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f"])))
    return body[:start] + new + body[stop:]


@pytest.mark.parametrize("kind", PRODUCT)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_message_kind_parses_or_is_refused(kind: str, data: st.DataObject) -> None:
    body = sample(kind)
    parses_or_refuses(kind, damaged(data, body))
    parses_or_refuses(kind, body[:4] + data.draw(st.binary(max_size=60)))
    parses_or_refuses(kind, data.draw(st.binary(max_size=20)))


@pytest.mark.parametrize("kind", PRODUCT)
def test_a_claimed_size_is_not_allocated(kind: str) -> None:
    body = sample(kind)
    decode(kind, body, limit=LIMIT)
    with at_most(2**20):
        for at in range(4, len(body)):
            for claim in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x01\x00", b"\x01\x00\x01\x00"):
                parses_or_refuses(kind, body[:at] + claim + body[at + 4 :])


def test_many_small_items_are_refused_before_they_are_made() -> None:
    """16 MiB of one-byte integers would be half a GiB of objects."""
    head = sample("product.operand")[:4]
    label = (1).to_bytes(4, "little") + b"x"
    body = head + label + b"\x01\x05\x01\x05" + (2**24).to_bytes(4, "little") + b"\x01" + b"\x80" * 2**24
    with at_most(2**20), pytest.raises(RemoteProtocolError, match="65536 are allowed"):
        decode("product.operand", body, limit=2**26)


def test_a_message_above_the_limit_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="above the limit"):
        decode("source.done", bytes(LIMIT + 1), limit=LIMIT)
    with pytest.raises(RemoteProtocolError, match="not in the register"):
        decode("source.other", b"", limit=LIMIT)


@given(raw=st.binary(max_size=64), width=st.integers(1, 8), count=st.integers(0, 9), bound=st.integers(1, 2**64))
def test_packed_elements(raw: bytes, width: int, count: int, bound: int) -> None:
    try:
        elements = unpack(raw, width, count, bound)
    except ValueError:
        assert len(raw) != width * count or any(
            int.from_bytes(raw[i * width : (i + 1) * width], "little") >= bound for i in range(count)
        )
        return
    assert [int(e) for e in elements] == [
        int.from_bytes(raw[i * width : (i + 1) * width], "little") for i in range(count)
    ]


# --- homomorphic encryption --------------------------------------------------------------------

KEY = key_for()
CONTEXT = KEY.context
EVALUATOR = Evaluator(CONTEXT, KEY.public_key)
ROWS, INNER, COLUMNS = 6, 3, 2
LEFT = np.arange(ROWS * INNER).reshape(ROWS, INNER) - 7
PACKING = choose_packing(ROWS, INNER, COLUMNS, CONTEXT.degree)
OPERAND = Operand(
    "x", INNER, COLUMNS, PACKING.sizes, encrypt_right(KEY, RING.uniform(secret("y"), (INNER, COLUMNS)), PACKING)
)
ANSWER, _ = multiply(Prepared(EVALUATOR, LEFT, PACKING), OPERAND, secret("z"))


def spoiled(data: st.DataObject, good: bytes) -> bytes:
    """A large byte string, damaged: wrong length, level or range, empty, truncated, or bytes overwritten."""
    way = data.draw(st.sampled_from(["cut", "longer", "empty", "ones", "zeros", "bytes", "level", "twice"]))
    if way == "cut":
        return good[: data.draw(st.integers(0, len(good) - 1))]
    if way == "longer":
        return good + data.draw(st.binary(min_size=1, max_size=16))
    if way == "bytes":
        at = data.draw(st.integers(0, len(good) - 1))
        new = data.draw(st.binary(min_size=1, max_size=16))
        return (good[:at] + new + good[at + len(new) :])[: len(good)]
    if way == "level":
        return good[: len(good) // 2]
    return {"empty": b"", "ones": b"\xff" * len(good), "zeros": bytes(len(good)), "twice": good * 2}[way]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_received_ciphertext(data: st.DataObject) -> None:
    good = OPERAND.blocks[0]
    bad = spoiled(data, good)
    try:
        EVALUATOR.load(bad)
    except ValueError:
        return
    assert len(bad) == len(good), "only a ciphertext of this level and set is taken"
    CONTEXT.unpack_polynomial(bad[: CONTEXT.degree * sum(CONTEXT.widths)], CONTEXT.degree)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_decryption(data: st.DataObject) -> None:
    positions = PACKING.positions(ROWS, COLUMNS, transposed=False)
    c0, c1 = ANSWER.first[0], ANSWER.second[0]
    if data.draw(st.booleans()):
        c0 = spoiled(data, c0)
    else:
        c1 = spoiled(data, c1)
    try:
        share = KEY.decrypt(c0, c1, positions)
    except ValueError:
        return
    assert share.shape == positions.shape
    assert int(share.max()) < RING.modulus


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_public_key(data: st.DataObject) -> None:
    bad = spoiled(data, KEY.public_key)
    try:
        evaluator = Evaluator(CONTEXT, bad)
    except ValueError:
        return
    assert len(bad) == len(KEY.public_key)
    multiply(Prepared(evaluator, LEFT, PACKING), OPERAND, secret("z"))


odd = st.one_of(st.integers(-2, 9), st.integers(-(2**63), 2**63 - 1))


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_an_operand(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["inner", "columns", "packing", "blocks"]))
    value: Any = data.draw(odd)
    if field == "packing":
        value = tuple(data.draw(st.lists(odd, max_size=4)))
    if field == "blocks":
        value = tuple(
            data.draw(st.lists(st.sampled_from([b"", OPERAND.blocks[0], OPERAND.blocks[0][:-1]]), max_size=3))
        )
    bad = dataclasses.replace(OPERAND, **{field: value})
    # fewer columns in the same blocks are a product too; evaluate_product holds the number to the agreed one
    assume(bad != OPERAND and not (field == "columns" and 1 <= value <= PACKING.k))
    with at_most(2**23), pytest.raises(ValueError):
        multiply(Prepared(EVALUATOR, LEFT, PACKING), bad, secret("z"))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_answer(data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["rows", "first", "second"]))
    value: Any = data.draw(odd)
    if field != "rows":
        good = getattr(ANSWER, field)[0]
        value = tuple(data.draw(st.lists(st.sampled_from([b"", good, good[:-1], good + b"x"]), max_size=3)))
    bad = dataclasses.replace(ANSWER, **{field: value})
    assume(bad != ANSWER)
    with pytest.raises(ValueError):
        open_answer(KEY, bad, ROWS, COLUMNS, PACKING)


def test_another_parameter_set_is_refused() -> None:
    other = KeyHolder(Context("bfv-8192", 54))
    foreign = other.encrypt(np.ones(8192, dtype=np.uint64))
    for bad in (foreign, foreign[: len(OPERAND.blocks[0])]):
        with pytest.raises(ValueError):
            EVALUATOR.load(bad)
    with pytest.raises(ValueError, match="not allowed"):
        Context("bfv-1024", 20)
    for bits in (0, -1, 45, 54, 64, 1000):
        with pytest.raises(ValueError, match="takes rings"):
            Context("bfv-4096", bits)


# --- alignment and transport ---------------------------------------------------------------------


@given(raw=st.binary(max_size=130), count=st.one_of(st.integers(-1, 5), st.just(2**62)))
def test_points(raw: bytes, count: int) -> None:
    try:
        points = split_points(raw, count, "peer")
    except RemoteProtocolError as error:
        assert error.peer == "peer"  # noqa: PT017 - most inputs raise nothing
        return
    assert b"".join(points) == raw
    assert len(set(points)) == count


TERMS = SessionTerms(
    "ab" * 32,
    "train-1",
    "cards",
    {"label": Role.LABEL, "cards": Role.FEATURE},
    frozenset(Payload),
    TransportSettings(largest_message=2**16),
)
text = st.sampled_from(["ab" * 32, "train-1", "label", "", "x", "\x00"])
header = st.builds(
    wire.Header,
    run_id=text,
    session=text,
    sender=text,
    sequence=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["source.done", "source.sum", "", "?"]),
    size=st.one_of(st.integers(0, 64), st.integers(0, 2**64 - 1)),
)
good_header = st.builds(
    wire.Header,
    run_id=st.just("ab" * 32),
    session=st.just("train-1"),
    sender=st.just("label"),
    sequence=st.integers(0, 9),
    kind=st.just("source.done"),
    size=st.one_of(st.integers(0, 64), st.integers(0, 2**17)),
)
frames = st.lists(
    st.one_of(
        st.builds(wire.Frame, header=st.one_of(header, good_header), data=st.binary(max_size=70)),
        st.builds(wire.Frame, data=st.binary(max_size=70)),
        st.just(wire.Frame(end=wire.End(aborted=True))),
        st.just(wire.Frame(hello=wire.Hello(run_id="x"))),
    ),
    max_size=5,
)


@given(frames)
@settings(max_examples=300)
def test_frames(stream: list[wire.Frame]) -> None:
    try:
        for item in assemble(iter(stream), TERMS, "label"):
            assert isinstance(item, Frame | End)
            assert (item.run_id, item.session, item.sender) == ("ab" * 32, "train-1", "label")
            assert isinstance(item, End) or len(item.body) <= TERMS.settings.largest_message
    except RemoteProtocolError as error:
        assert error.peer == "label"  # noqa: PT017 - most inputs raise nothing


def test_an_announced_size_is_not_allocated_and_crumbs_are_refused() -> None:
    place = {"run_id": "ab" * 32, "session": "train-1", "sender": "label", "kind": "source.done"}
    generous = dataclasses.replace(TERMS, settings=TransportSettings(largest_message=2**31))
    with at_most(2**20):
        for first, rest in ((bytes(8192), [b"xy"] * 1000), (b"x", [bytes(8192)]), (bytes(8192), [b""])):
            stream = [wire.Frame(header=wire.Header(size=2**30, **place), data=first)]
            stream += [wire.Frame(data=piece) for piece in rest]
            with pytest.raises(RemoteProtocolError, match=r"chunk|cut short"):
                list(assemble(iter(stream), generous, "label"))
    whole = Frame("ab" * 32, "train-1", "label", 3, "source.done", bytes(3 * 2**20 + 5))
    assert list(assemble(wire_frames(whole), generous, "label")) == [whole]


def test_a_call_that_ends_within_a_message_is_a_lost_connection_and_no_breach() -> None:
    """Bytes that changed on the way end a call so, now and then: the run went on from there, or ended, by chance."""
    first, second = (
        Frame("ab" * 32, "train-1", "label", number, "source.done", bytes([number]) * (2**20 + 5)) for number in (3, 4)
    )
    chunks = [*wire_frames(first), *wire_frames(second)]
    generous = dataclasses.replace(TERMS, settings=TransportSettings(largest_message=2**21))
    for taken in range(1, len(chunks)):
        found = list(assemble(iter(chunks[:taken]), generous, "label"))
        assert found == ([first] if taken >= len(chunks) // 2 else [])


# --- documents: the agreement, and what parties report --------------------------------------------


def agreement() -> dict[str, Any]:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    party = {"address": "h:1", "identity_key": "00" * 32, "certificate_sha256": "00" * 32}
    made = Agreement.model_validate(
        {
            "consortium": "c", "purpose": "p", "nonce": "n", "code_version": "1", "recipients": ["bank"],
            "proposed_at": now, "expires_at": now + timedelta(days=1),
            "coordinator_certificate_sha256": "00" * 32, "coordinator_address": "h:1",
            "parties": [
                {"name": "bank", "role": "label", "columns": [], **party},
                {"name": "sat", "role": "feature", "columns": [f"s{i}" for i in range(12)], **party},
                {"name": "card", "role": "feature", "columns": [f"c{i}" for i in range(12)], **party},
            ],
            "label": {"name": "y", "definition": "d", "party": "bank"},
            "calendar": {"frequency": "W", "periods": ["p"], "period_ends": [now], "cutoffs": [now]},
        }
    )  # fmt: skip
    document: dict[str, Any] = json.loads(made.canonical())
    assert Agreement.model_validate(document).run_id == made.run_id
    return document


AGREEMENT = agreement()
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=6),
    st.sampled_from(["2030-01-01T00:00:00", "2030-01-01", "\ud800", "bank", 1e308, 2**53, 10**400, ""]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*path, index))


PLACES = list(places(AGREEMENT))


@given(st.sampled_from(PLACES), values)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_agreement_is_valid_and_has_a_hash_or_is_refused(path: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(AGREEMENT))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    try:
        made = Agreement.model_validate(document)
    except ValidationError:
        return
    assert len(made.run_id) == 64
    assert made.expires_at > datetime(1, 1, 2, tzinfo=UTC)
    assert made.row_limit >= 0


def create_member(name: str) -> dict[str, Any]:
    """A member's entry with a real certificate."""
    with tempfile.TemporaryDirectory() as folder:
        member: dict[str, Any] = create_identity(name, Path(folder)).member("127.0.0.1:1").model_dump(mode="json")
    return member


BODIES = [
    shape
    for module in (reports, phase_reports, orders)
    for shape in vars(module).values()
    if isinstance(shape, type) and issubclass(shape, Terms) and shape.__module__.startswith("parties")
]
assert set(REPORTS.values()) <= set(BODIES)


@given(st.sampled_from(BODIES), st.one_of(st.binary(max_size=40), values.map(lambda v: json.dumps(v).encode()), values))
@settings(max_examples=300, deadline=None)
def test_a_coordinator_report_parses_or_is_refused(shape: Any, body: Any) -> None:
    if not isinstance(body, bytes | str | dict):
        body = json.dumps(body)
    try:
        got = parse(shape, body, "a test")
    except AgreementError:
        return
    assert isinstance(got, shape)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"1e999", b"{}" * 2, b'{"phase": "align"']
)
def test_a_report_that_is_no_document_is_refused(body: bytes) -> None:
    with at_most(2**24), pytest.raises(AgreementError):
        parse(reports.FailedBody, body, "a test")


HEAD = {"log": "sat", "size": 3, "root": "ab" * 32, "at": "2030-01-01T00:00:00+00:00", "signature": "cd" * 64}
TURN = {"phase": "train", "attempt": 1, "number": 1, "by": "bank"}
OVERLAP = {
    "members": ["sat", "bank"], "epsilon": 1.0, "largest_set": 100, "nonce": "ab" * 16,
    "proposed_at": "2030-01-01T00:00:00+00:00", "expires_at": "2030-01-02T00:00:00+00:00",
}  # fmt: skip
GOOD_COMMANDS: dict[str, dict[str, Any]] = {
    "welcome": {"version": "1", "heartbeat_seconds": 2.0},
    "roster": {"members": {"sat": create_member("sat")}},
    "approve": {"agreement": AGREEMENT},
    "start": {"phase": "train", "attempt": 1, "signatures": {"sat": "ef" * 64}, "heads": [HEAD]},
    "pause": {**TURN, "why": "to look"},
    "resume": TURN,
    "abort": {"reason": "no", "culprit": "sat"},
    "finished": {"settlement_sha256": "ab" * 32, "heads": [HEAD]},
    "settle": {"requests": []},
    "overlaps": {"overlaps": [{"proposal": OVERLAP}]},
}
GOOD_REPORTS: dict[str, dict[str, Any]] = {
    "heartbeat": {},
    "introduction": {
        "role": "feature",
        "columns": ["a"],
        "limits": {"openings_per_row": 3, "largest_fraction": 0.5},
        "data": {"at": "2030-01-01T00:00:00+00:00", "usable": True},
    },
    "links": {"at": "2030-01-01T00:00:00+00:00", "peers": {"sat": "silent"}},
    "signed": {"signature": "ef" * 64},
    "rejected": {"why": "no"},
    "progress": {"phase": "train", "attempt": 1, "done": 1, "total": 2, "metrics": {"loss": 0.5}},
    "done": {"phase": "train", "attempt": 1, "report": {"seconds": 1.0}},
    "failed": {"phase": "train", "attempt": 1, "reason": "no", "peer": "sat"},
    "held": {"phase": "train", "attempt": 1},
    "settlement": {"digest": "ab" * 32, "refused": "no"},
    "overlap": {"proposal": OVERLAP, "signature": "ef" * 64},
    "rows": {"root": "ab" * 32, "through": "2030-01-01T00:00:00+00:00"},
    "live": {
        "run_id": "ab" * 32,
        "periods": ["q"],
        "contribution": {"method": "masked", "parties": {"sat": {"phi": 0.1}}},
    },
}


def test_both_ends_speak_of_the_same_kinds() -> None:
    assert set(GOOD_COMMANDS) == set(COMMANDS)
    assert set(GOOD_REPORTS) == set(REPORTS)
    for kind, body in GOOD_COMMANDS.items():
        told = parse_command(kind, "ab" * 32, json.dumps(body).encode())
        assert (told.kind, type(told.body)) == (kind, COMMANDS[told.kind])
    for kind, body in GOOD_REPORTS.items():
        said = parse_report(kind, "ab" * 32, json.dumps(body).encode(), "sat")
        assert (said.kind, type(said.body)) == (kind, REPORTS[said.kind])


def changed(data: st.DataObject, good: dict[str, Any]) -> bytes:
    """A good body with one value exchanged or one key more, or bytes that are cut or of no document at all."""
    way = data.draw(st.sampled_from(["value", "key", "cut", "bytes", "anything"]))
    whole = json.dumps(good).encode()
    if way == "bytes":
        return data.draw(st.binary(max_size=60))
    if way == "anything":
        return json.dumps(data.draw(values)).encode()
    if way == "cut":
        return damaged(data, whole)
    body = json.loads(whole)
    if way == "key" or not list(places(body)):
        body[data.draw(st.sampled_from(["run_id", "kind", "phase", "x", ""]))] = data.draw(values)
        return json.dumps(body).encode()
    path = data.draw(st.sampled_from(list(places(body))))
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(values)
    return json.dumps(body).encode()


@pytest.mark.parametrize("kind", sorted(COMMANDS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_command_parses_or_is_refused_in_one_sentence(kind: str, data: st.DataObject) -> None:
    run_id = data.draw(st.sampled_from(["ab" * 32, "ab" * 32, "", "../../etc", "AB" * 32]))
    try:
        got = parse_command(kind, run_id, changed(data, GOOD_COMMANDS[kind]))
    except PeerError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.peer == "coordinator"
        assert "\n" not in str(refused)
        assert len(str(refused)) < 400
        return
    again = parse_command(got.kind, got.run_id, got.encoded())
    assert again == got
    assert again.mark == got.mark
    hash(got.mark)


def test_a_name_with_line_ends_stays_in_one_sentence() -> None:
    with pytest.raises(PeerError) as refused:
        parse_command("overlaps", "ab" * 32, b'{"a\\nb": 1}')
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", sorted(REPORTS))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_report_parses_or_is_refused_in_one_sentence(kind: str, data: st.DataObject) -> None:
    try:
        got = parse_report(kind, "ab" * 32, changed(data, GOOD_REPORTS[kind]), "sat")
    except AgreementError as error:
        sentence = str(error)
    else:
        sentence = ""
    if sentence:
        assert sentence.startswith(f"sat's {kind} report: ")
        assert len(sentence) < 600
        return
    try:
        data_again = got.encoded()
    except ValueError:
        assert kind == "done"
        return
    assert parse_report(got.kind, got.run_id, data_again, "sat") == got


@given(st.text(max_size=30), st.binary(max_size=30))
def test_a_kind_that_does_not_exist_is_refused(kind: str, body: bytes) -> None:
    assume(kind not in COMMANDS and kind not in REPORTS)
    with pytest.raises(PeerError, match="does not exist"):
        parse_command(kind, "", body)
    with pytest.raises(AgreementError, match="does not exist"):
        parse_report(kind, "", body, "sat")


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"agreement":' * 50_000, b"\xff\xfe", b"1e999", b"[]", b"null"])
def test_a_command_that_is_no_document_is_refused(body: bytes) -> None:
    for kind in COMMANDS:
        with at_most(2**24), pytest.raises(PeerError):
            parse_command(kind, "ab" * 32, body)


def test_commands_and_reports_are_frozen() -> None:
    for shape in (*COMMANDS.values(), *REPORTS.values()):
        assert shape.model_config.get("frozen"), shape
        assert shape.model_config.get("extra") == "forbid", shape
    told: Any = Command(COMMANDS["abort"].model_validate(GOOD_COMMANDS["abort"]), "ab" * 32)
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.run_id = ""
    with pytest.raises(ValidationError):
        told.body.reason = "another"
