"""The codec: every message returns unchanged, and every other byte string is refused by name."""

from __future__ import annotations

import math
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.wire.codec import decode, encode, kind_of
from parties.wire.generate import generate
from psi.flow import LocalProtocolError, Message, Payload, RemoteProtocolError, Role, message

LIMIT = 2**20


def declared(name: str) -> Any:
    return message(
        f"codec.{name}", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.PUBLIC, reveals="a", source="b"
    )


@declared("all")
class Everything(Message):
    number: int
    real: float
    flag: bool
    text: str
    raw: bytes
    numbers: tuple[int, ...]
    reals: tuple[float, ...]
    texts: tuple[str, ...]
    raws: tuple[bytes, ...]


@declared("empty")
class Nothing(Message):
    pass


@declared("picky")
class Picky(Message):
    number: int

    def __post_init__(self) -> None:
        if self.number > 3:
            raise KeyError("too many")


@declared("numbers")
class Numbers(Message):
    numbers: tuple[int, ...]


@declared("texts")
class Texts(Message):
    texts: tuple[str, ...]


KINDS = ["codec.all", "codec.empty", "codec.picky", "codec.numbers", "codec.texts"]
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
everything = st.builds(
    Everything,
    number=int64,
    real=st.floats(allow_nan=False),
    flag=st.booleans(),
    text=text,
    raw=st.binary(max_size=64),
    numbers=st.lists(st.one_of(st.integers(-200, 200), int64), max_size=6).map(tuple),
    reals=st.lists(st.floats(allow_nan=False), max_size=6).map(tuple),
    texts=st.lists(text, max_size=4).map(tuple),
    raws=st.lists(st.binary(max_size=8), max_size=4).map(tuple),
)


@given(everything)
def test_every_message_returns_unchanged(sent: Everything) -> None:
    kind, body = encode(sent)
    assert kind == "codec.all"
    got = decode(kind, body, limit=LIMIT)
    assert got == sent
    assert type(got) is Everything
    assert repr(got) == repr(sent)
    assert decode(kind, memoryview(body), limit=LIMIT) == sent


def parses_or_refuses(kind: str, body: bytes) -> None:
    try:
        got = decode(kind, body, limit=LIMIT)
    except RemoteProtocolError:
        return
    assert encode(got) == (kind, body)


@given(st.sampled_from(KINDS), st.binary(max_size=80), st.booleans())
@settings(max_examples=400)
def test_any_bytes_parse_to_their_one_message_or_are_refused(kind: str, tail: bytes, known: bool) -> None:
    first = {"codec.picky": Picky(1), "codec.numbers": Numbers(()), "codec.texts": Texts(()), "codec.empty": Nothing()}
    head = encode(first[kind])[1][:4] if known and kind in first else b""
    parses_or_refuses(kind, head + tail)


@given(everything, st.data())
@settings(max_examples=300)
def test_changed_messages_parse_to_their_one_message_or_are_refused(sent: Everything, data: st.DataObject) -> None:
    kind, body = encode(sent)
    at = data.draw(st.integers(0, len(body) - 1))
    until = data.draw(st.integers(at, len(body)))
    parses_or_refuses(kind, body[:at] + data.draw(st.binary(max_size=6)) + body[until:])


@given(everything, st.data())
def test_no_prefix_and_no_extension_parses(sent: Everything, data: st.DataObject) -> None:
    kind, body = encode(sent)
    for other in (
        body[: data.draw(st.integers(0, len(body) - 1))],
        body + data.draw(st.binary(min_size=1, max_size=9)),
    ):
        with pytest.raises(RemoteProtocolError):
            decode(kind, other, limit=LIMIT)


def test_nan_and_infinity_keep_their_bits() -> None:
    sent = Everything(0, math.nan, True, "", b"", (), (math.inf, -math.inf, -0.0, math.nan), (), ())
    got = decode(*encode(sent), limit=LIMIT)
    assert isinstance(got, Everything)
    assert struct.pack("<5d", got.real, *got.reals) == struct.pack("<5d", sent.real, *sent.reals)


GOOD: dict[str, Any] = {
    "number": 1,
    "real": 1.0,
    "flag": True,
    "text": "a",
    "raw": b"a",
    "numbers": (1,),
    "reals": (1.0,),
    "texts": ("a",),
    "raws": (b"a",),
}
WRONG = [
    ("number", True),
    ("number", 1.0),
    ("number", 2**63),
    ("number", -(2**63) - 1),
    ("number", None),
    ("real", 1),
    ("real", "1"),
    ("flag", 1),
    ("text", b"a"),
    ("text", "\ud800"),
    ("raw", "a"),
    ("raw", bytearray(b"a")),
    ("numbers", [1]),
    ("numbers", (1, True)),
    ("numbers", (2**63,)),
    ("numbers", (1.0,)),
    ("reals", (1,)),
    ("reals", 1.0),
    ("texts", (b"a",)),
    ("texts", "a"),
    ("raws", ("a",)),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:20])
def test_a_field_of_the_wrong_type_is_our_own_fault(field: str, value: object) -> None:
    with pytest.raises(LocalProtocolError, match=rf"codec\.all\.{field} cannot be sent"):
        encode(Everything(**{**GOOD, field: value}))


def test_refusals_name_the_kind_and_the_fault() -> None:
    kind, body = encode(Numbers((1, 2)))
    refused = {
        "not in the register": ("codec.unheard", body),
        "another version": (kind, b"\0\0\0\0" + body[4:]),
        "1 bytes early": (kind, body[:-1]),
        "2 bytes too many": (kind, body + b"xx"),
        "unknown width": (kind, body[:8] + b"\x03" + body[9:]),
        "wider than they need": (kind, body[:8] + b"\x02" + struct.pack("<2h", 1, 2)),
        "codec.picky: 'too many'": encode_unchecked(9),
        "not UTF-8": ("codec.texts", encode(Texts(("ab",)))[1][:-2] + b"\xff\xff"),
        "neither 0 nor 1": (
            "codec.all",
            encode(Everything(**GOOD))[1].replace(struct.pack("<d", 1.0) + b"\1", bytes(8) + b"\2"),
        ),
    }
    for reason, (name, bad) in refused.items():
        with pytest.raises(RemoteProtocolError, match=reason):
            decode(name, bad, limit=LIMIT)
    with pytest.raises(RemoteProtocolError, match="above the limit of 3"):
        decode(kind, body, limit=3)


def encode_unchecked(number: int) -> tuple[str, bytes]:
    kind, body = encode(Picky(1))
    return kind, body[:-1] + bytes([number])


@pytest.mark.parametrize("kind", ["codec.numbers", "codec.texts"])
def test_a_claimed_length_allocates_nothing(kind: str) -> None:
    empty: Message = Numbers(()) if kind == "codec.numbers" else Texts(())
    body = encode(empty)[1][:4] + struct.pack("<I", 2**32 - 1) + b"\x08" + bytes(16)
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            decode(kind, body, limit=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_large_bytes_are_copied_once_each_way() -> None:
    raw = bytes(8 * 2**20)
    sent = Everything(**{**GOOD, "raw": raw})
    tracemalloc.start()
    try:
        kind, body = encode(sent)
        assert tracemalloc.get_traced_memory()[1] < len(raw) * 1.1
        tracemalloc.reset_peak()
        decode(kind, body, limit=2**24)
        assert tracemalloc.get_traced_memory()[1] < len(raw) * 2.1
    finally:
        tracemalloc.stop()


def test_only_registered_messages_of_known_types_travel() -> None:
    class Unregistered(Message):
        pass

    with pytest.raises(LocalProtocolError, match="not in the message register"):
        encode(Unregistered())
    assert kind_of(Nothing) == "codec.empty"
    assert len(encode(Nothing())[1]) == 4


def test_the_generated_code_is_up_to_date(tmp_path: Any) -> None:
    pytest.importorskip("grpc_tools", reason="the development extra is not installed")
    from parties.wire import gen

    generate(tmp_path)
    committed = gen.__path__[0]
    for fresh in tmp_path.glob("exchange_pb2.py*"):
        with open(f"{committed}/{fresh.name}", encoding="utf-8") as file:
            assert file.read() == fresh.read_text(encoding="utf-8"), "run python -m parties.wire.generate"
