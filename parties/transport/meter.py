"""What crossed a channel: counts for the operator, raw bytes for the leak tests."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from parties.private_files import open_private

__all__ = ["Direction", "FileRecorder", "Meter", "Record", "Recorder", "Tally", "read_records"]

Direction = Literal["sent", "received"]


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages of one kind and their bodies' bytes."""

    messages: int = 0
    bytes: int = 0

    def plus(self, messages: int, size: int) -> Tally:
        return Tally(self.messages + messages, self.bytes + size)


class Meter:
    """Counts by direction, peer and message kind. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[tuple[Direction, str, str], Tally] = {}

    def add(self, direction: Direction, peer: str, kind: str, size: int) -> None:
        key = (direction, peer, kind)
        with self._lock:
            self._tallies[key] = self._tallies.get(key, Tally()).plus(1, size)

    def tallies(self) -> dict[tuple[Direction, str, str], Tally]:
        """A snapshot: (direction, peer, kind) to tally."""
        with self._lock:
            return dict(self._tallies)

    def by_kind(self, direction: Direction) -> dict[str, Tally]:
        """Tallies of one direction, over all peers."""
        totals: dict[str, Tally] = {}
        for (way, _, kind), tally in self.tallies().items():
            if way == direction:
                totals[kind] = totals.get(kind, Tally()).plus(tally.messages, tally.bytes)
        return totals

    def by_receiver(self, kind: str) -> dict[str, int]:
        """Bytes sent of one kind, by peer."""
        return {
            peer: tally.bytes for (way, peer, name), tally in self.tallies().items() if (way, name) == ("sent", kind)
        }


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it crossed a channel: ``body`` is what the codec made or was given."""

    direction: Direction
    peer: str
    run_id: str
    session: str
    sequence: int
    kind: str
    body: bytes


Recorder = Callable[[Record], None]
"""Hears every message of a channel, from any thread. A list's ``append`` is one."""

_SIZES = struct.Struct("<IQ")


class FileRecorder:
    """Appends records to a file that :func:`read_records` reads. One per process may serve all its channels."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = open(path, "ab", opener=open_private)  # noqa: SIM115

    def __call__(self, record: Record) -> None:
        head = asdict(record)
        body = head.pop("body")
        text = json.dumps(head).encode()
        with self._lock:
            self._file.write(_SIZES.pack(len(text), len(body)) + text)
            self._file.write(body)
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_records(path: Path) -> Iterator[Record]:
    """The records a :class:`FileRecorder` wrote; one cut short by the end of its process is left out."""
    with path.open("rb") as file:
        while len(sizes := file.read(_SIZES.size)) == _SIZES.size:
            head, size = _SIZES.unpack(sizes)
            text, body = file.read(head), file.read(size)
            if len(body) < size or len(text) < head:
                return
            yield Record(**json.loads(text), body=body)
