"""Messages to bytes and back.

The layout is our own because the register already fixes every field's type: a body is the schema's
fingerprint followed by the fields in order, without tags or names. That keeps one canonical encoding
per message (transcripts are hashes of it), lets a large ``bytes`` field pass with one copy on each side,
and leaves a decoder small enough to be fuzzed thoroughly. Protobuf frames carry the result (``exchange.proto``).

    body        4 bytes of SHA-256(kind, field names and types), then the fields
    int         width w (1, 2, 4 or 8: the smallest that fits), then w bytes two's complement
    float       8 bytes IEEE 754
    bool        0 or 1
    str, bytes  u32 length, then UTF-8 or raw bytes
    tuple       u32 count, 65,536 at most; of int: one width for all, then the items; of float: 8 bytes each;
                of str or bytes: each with its own length

All numbers are little-endian. A decoder parses or raises :class:`RemoteProtocolError`, and never
allocates by a length it has not checked against the bytes at hand.
"""

from __future__ import annotations

import hashlib
import struct
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from psi.flow import REGISTER, LocalProtocolError, Message, RemoteProtocolError, fields_of

__all__ = ["decode", "encode", "kind_of"]

_LENGTH = struct.Struct("<I")
_DOUBLE = struct.Struct("<d")
_LARGEST_LENGTH = 2**32 - 1
_MOST_ITEMS = 2**16  # an item costs up to 40 times its bytes once it is an object: large arrays travel as bytes
_FINGERPRINT = 4
_WIDTHS = {1: "b", 2: "h", 4: "i", 8: "q"}

Parts = list[bytes]


def encode(message: Message) -> tuple[str, bytes]:
    """The message's kind and body. Raises :class:`LocalProtocolError` when a field breaks its declared type."""
    cls = type(message)
    kind = kind_of(cls)
    schema = _schema(cls)
    parts: Parts = [schema.fingerprint]
    for name, layout in schema.fields:
        try:
            layout.write(parts, getattr(message, name))
        except (TypeError, OverflowError, struct.error, UnicodeEncodeError) as error:
            raise LocalProtocolError(f"{kind}.{name} cannot be sent: {error}") from None
    return kind, b"".join(parts)


def decode(kind: str, body: bytes | memoryview, *, limit: int) -> Message:
    """The message of type ``kind`` in ``body``, which may have at most ``limit`` bytes.

    Raises :class:`RemoteProtocolError` for an unknown kind and for any body that :func:`encode` does not make.
    """
    declared = REGISTER.get(kind)
    if declared is None:
        raise RemoteProtocolError("message of a kind that is not in the register")
    if len(body) > limit:
        raise RemoteProtocolError(f"{kind}: {len(body)} bytes, above the limit of {limit}")
    schema = _schema(declared.cls)
    source = _Source(kind, memoryview(body).cast("B"))
    if source.take(_FINGERPRINT) != schema.fingerprint:
        raise RemoteProtocolError(f"{kind}: laid out by another version of this message type")
    values = {name: layout.read(source) for name, layout in schema.fields}
    if source.left:
        source.refuse(f"{source.left} bytes too many")
    try:
        return declared.cls(**values)
    except Exception as error:  # a message's own checks may raise anything; a peer must not choose what
        raise RemoteProtocolError(f"{kind}: {error}") from error


def kind_of(cls: type[Message]) -> str:
    """The register's name for a message type."""
    kind = getattr(cls, "_kind", None)
    if not isinstance(kind, str) or kind not in REGISTER or REGISTER[kind].cls is not cls:
        raise LocalProtocolError(f"{cls.__qualname__} is not in the message register: declare it with @message")
    return kind


class _Source:
    """A cursor over received bytes that never reads past their end."""

    __slots__ = ("at", "kind", "left", "view")

    def __init__(self, kind: str, view: memoryview) -> None:
        self.kind = kind
        self.view = view
        self.at = 0
        self.left = len(view)

    def refuse(self, reason: str) -> NoReturn:
        raise RemoteProtocolError(f"{self.kind}: {reason}")

    def take(self, size: int) -> memoryview:
        if size > self.left:
            self.refuse(f"ends {size - self.left} bytes early")
        piece = self.view[self.at : self.at + size]
        self.at += size
        self.left -= size
        return piece

    def length(self) -> int:
        return int(_LENGTH.unpack(self.take(4))[0])

    def items(self) -> int:
        count = self.length()
        if count > _MOST_ITEMS:
            self.refuse(f"claims {count} items where {_MOST_ITEMS} are allowed")
        return count

    def width(self) -> int:
        width = self.take(1)[0]
        if width not in _WIDTHS:
            self.refuse("an integer of unknown width")
        return width


@dataclass(frozen=True, slots=True)
class _Layout:
    write: Callable[[Parts, Any], None]
    read: Callable[[_Source], Any]


@dataclass(frozen=True, slots=True)
class _Schema:
    fingerprint: bytes
    fields: tuple[tuple[str, _Layout], ...]


_SCHEMAS: dict[type[Message], _Schema] = {}


def _schema(cls: type[Message]) -> _Schema:
    schema = _SCHEMAS.get(cls)
    if schema is None:
        schema = _SCHEMAS[cls] = _resolve(cls)
    return schema


def _resolve(cls: type[Message]) -> _Schema:
    hints = typing.get_type_hints(cls)
    fields: list[tuple[str, _Layout]] = []
    text = [kind_of(cls)]
    for declared in fields_of(cls):
        hint = hints[declared.name]
        layout = _LAYOUTS.get(hint)
        if layout is None or not declared.init:
            raise LocalProtocolError(f"{cls.__qualname__}.{declared.name}: messages cannot carry {hint}")
        fields.append((declared.name, layout))
        text.append(f"{declared.name}:{hint}")
    return _Schema(hashlib.sha256("\n".join(text).encode()).digest()[:_FINGERPRINT], tuple(fields))


def _only(value: Any, wanted: type) -> None:
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(f"{wanted.__name__} expected, not {type(value).__name__}")


def _count(parts: Parts, size: int) -> None:
    if size > _LARGEST_LENGTH:
        raise OverflowError("more than 4 GiB")
    parts.append(_LENGTH.pack(size))


def _width_of(low: int, high: int) -> int:
    for width in _WIDTHS:
        bound = 1 << (8 * width - 1)
        if -bound <= low and high < bound:
            return width
    raise OverflowError("integers beyond 64 bits travel as bytes")


def _count_items(parts: Parts, count: int) -> None:
    if count > _MOST_ITEMS:
        raise OverflowError(f"more than {_MOST_ITEMS} items")
    parts.append(_LENGTH.pack(count))


def _write_int(parts: Parts, value: int) -> None:
    _only(value, int)
    width = _width_of(value, value)
    parts.append(bytes((width,)) + value.to_bytes(width, "little", signed=True))


def _read_int(source: _Source) -> int:
    width = source.width()
    value = int.from_bytes(source.take(width), "little", signed=True)
    if _width_of(value, value) != width:
        source.refuse("an integer wider than it needs to be")
    return value


def _write_float(parts: Parts, value: float) -> None:
    _only(value, float)
    parts.append(_DOUBLE.pack(value))


def _read_float(source: _Source) -> float:
    return float(_DOUBLE.unpack(source.take(8))[0])


def _write_bool(parts: Parts, value: bool) -> None:
    _only(value, bool)
    parts.append(b"\x01" if value else b"\x00")


def _read_bool(source: _Source) -> bool:
    byte = source.take(1)[0]
    if byte > 1:
        source.refuse("a boolean that is neither 0 nor 1")
    return byte == 1


def _write_bytes(parts: Parts, value: bytes) -> None:
    _only(value, bytes)
    _count(parts, len(value))
    parts.append(value)


def _read_bytes(source: _Source) -> bytes:
    return bytes(source.take(source.length()))


def _write_str(parts: Parts, value: str) -> None:
    _only(value, str)
    _write_bytes(parts, value.encode())


def _read_str(source: _Source) -> str:
    piece = source.take(source.length())
    try:
        return str(piece, "utf-8")
    except UnicodeDecodeError:
        source.refuse("text that is not UTF-8")


def _write_ints(parts: Parts, values: tuple[int, ...]) -> None:
    _only(values, tuple)
    if not set(map(type, values)) <= {int}:
        raise TypeError("a tuple of int expected")
    width = _width_of(min(values, default=0), max(values, default=0))
    _count_items(parts, len(values))
    parts.append(struct.pack(f"<B{len(values)}{_WIDTHS[width]}", width, *values))


def _read_ints(source: _Source) -> tuple[int, ...]:
    count = source.items()
    width = source.width()
    values = struct.unpack(f"<{count}{_WIDTHS[width]}", source.take(count * width))
    if _width_of(min(values, default=0), max(values, default=0)) != width:
        source.refuse("integers wider than they need to be")
    return values


def _write_floats(parts: Parts, values: tuple[float, ...]) -> None:
    _only(values, tuple)
    if not all(isinstance(value, float) for value in values):
        raise TypeError("a tuple of float expected")
    _count_items(parts, len(values))
    parts.append(struct.pack(f"<{len(values)}d", *values))


def _read_floats(source: _Source) -> tuple[float, ...]:
    count = source.items()
    return struct.unpack(f"<{count}d", source.take(8 * count))


def _sequence(item: _Layout) -> _Layout:
    def write(parts: Parts, values: tuple[Any, ...]) -> None:
        _only(values, tuple)
        _count_items(parts, len(values))
        for value in values:
            item.write(parts, value)

    def read(source: _Source) -> tuple[Any, ...]:
        count = source.items()
        if count * _LENGTH.size > source.left:
            source.refuse(f"claims {count} items in {source.left} bytes")
        return tuple([item.read(source) for _ in range(count)])

    return _Layout(write, read)


_TEXT = _Layout(_write_str, _read_str)
_RAW = _Layout(_write_bytes, _read_bytes)
_LAYOUTS: dict[Any, _Layout] = {
    int: _Layout(_write_int, _read_int),
    float: _Layout(_write_float, _read_float),
    bool: _Layout(_write_bool, _read_bool),
    str: _TEXT,
    bytes: _RAW,
    tuple[int, ...]: _Layout(_write_ints, _read_ints),
    tuple[float, ...]: _Layout(_write_floats, _read_floats),
    tuple[str, ...]: _sequence(_TEXT),
    tuple[bytes, ...]: _sequence(_RAW),
}
