"""One message to protobuf frames of half a mebibyte, and back.

Of 256 KiB, 512 KiB, 1 MiB and 2 MiB, chunks of 512 KiB moved messages of 1 and 8 MiB fastest
(``python -m benchmarks.transport``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from parties.transport.channel import End, Frame, SessionTerms
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import RemoteProtocolError

__all__ = ["LARGEST_FRAME", "Arriving", "assemble", "wire_frames"]

_CHUNK = 2**19
_SMALLEST = 4096  # smaller chunks of a large message would cost many times their bytes to keep
LARGEST_FRAME = _CHUNK + 4096


def wire_frames(item: Frame | End) -> Iterator[wire.Frame]:
    """What travels for one message: a header with the first chunk, then the other chunks."""
    if isinstance(item, End):
        yield wire.Frame(end=wire.End(aborted=item.aborted, anew=item.anew))
        return
    header = wire.Header(
        run_id=item.run_id,
        session=item.session,
        sender=item.sender,
        sequence=item.sequence,
        kind=item.kind,
        size=len(item.body),
    )
    yield wire.Frame(header=header, data=item.body[:_CHUNK])
    for start in range(_CHUNK, len(item.body), _CHUNK):
        yield wire.Frame(data=item.body[start : start + _CHUNK])


class Arriving(Iterator[wire.Frame]):
    """One call's frames as they come. ``within``: some came after the last whole message, so one has begun."""

    def __init__(self, frames: Iterator[wire.Frame]) -> None:
        self._frames = frames
        self.within = False

    def __next__(self) -> wire.Frame:
        frame = next(self._frames)
        self.within = True
        return frame


def assemble(frames: Iterator[wire.Frame], terms: SessionTerms, peer: str) -> Iterator[Frame | End]:
    """Whole messages out of chunks, hashed as they come. Nothing is kept of a message that the terms refuse.

    Frames that end within a message are a connection that was lost: gRPC may report it as an end of the call. Nothing
    of that message is taken, and its sender begins it anew.
    """
    place = (terms.run_id, terms.session, peer)
    for first in frames:
        part = first.WhichOneof("part")
        if part == "end":
            yield End(*place, first.end.aborted, first.end.anew)
            return
        header = first.header
        if part != "header" or (header.run_id, header.session, header.sender) != place:
            raise RemoteProtocolError("a frame without a header, or of another run, session or sender", peer)
        terms.check_incoming(peer, header.kind, header.size)
        if len(first.data) < min(_SMALLEST, header.size):
            raise RemoteProtocolError(f"{header.kind}: a first chunk of {len(first.data)} bytes", peer)
        pieces = [first.data]
        size = len(first.data)
        digest = hashlib.sha256(first.data)
        while size < header.size:
            frame = next(frames, None)
            if frame is None:
                return
            if frame.WhichOneof("part") or len(frame.data) < min(_SMALLEST, header.size - size):
                raise RemoteProtocolError(f"{header.kind}: cut short after {size} of {header.size} bytes", peer)
            pieces.append(frame.data)
            size += len(frame.data)
            digest.update(frame.data)
        if size > header.size:
            raise RemoteProtocolError(f"{header.kind}: {size} bytes where {header.size} were announced", peer)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        yield Frame(*place, header.sequence, header.kind, body).hashed(digest.digest())
