"""Delivery of a finished factor bundle from the label party to the recipients the agreement names, sealed for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from psi.flow import Flow, Message, Payload, Progress, RemoteProtocolError, Role, Send, message, receive

__all__ = [
    "BundleForCoordinator",
    "BundleForParty",
    "BundleReceived",
    "BundleReceivedByCoordinator",
    "deliver_bundle",
    "pack_files",
    "receive_bundle",
    "unpack_files",
]

_REVEALS = (
    "to the receiver's key alone the joint factor: scores by instrument and period, and its validation, as agreed"
)
_SOURCE = "docs/protocols/delivery.md#what-is-sent; HPKE, RFC 9180"

Seal = Callable[[str, bytes], bytes]
"""Reader's name and packed files to what only that reader opens."""
Unseal = Callable[[bytes], bytes]
"""The other way; ValueError where it is not for us, not from the label party, of another run, or not whole."""


@message(
    "factor.bundle",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.RESULT,
    reveals=_REVEALS,
    source=_SOURCE,
)
class BundleForParty(Message):
    """The bundle's files, sealed for the receiver."""

    sealed: bytes


@message(
    "factor.bundle.coordinator",
    sender=Role.LABEL,
    receiver=Role.COORDINATOR,
    payload=Payload.RESULT,
    reveals=_REVEALS,
    source=_SOURCE,
)
class BundleForCoordinator(Message):
    """The same, to the coordinator where it is a recipient."""

    sealed: bytes


@message(
    "factor.received",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="that the bundle arrived whole",
    source=_SOURCE,
)
class BundleReceived(Message):
    """SHA-256 over what arrived, opened."""

    digest: bytes


@message(
    "factor.received.coordinator",
    sender=Role.COORDINATOR,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="that the bundle arrived whole",
    source=_SOURCE,
)
class BundleReceivedByCoordinator(Message):
    """SHA-256 over what arrived, opened."""

    digest: bytes


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Files as one byte string: a line of JSON with names and sizes, then the contents. Equal files, equal bytes."""
    index = [[name, len(files[name])] for name in sorted(files)]
    return b"".join([json.dumps(index).encode("ascii"), b"\n", *(files[name] for name in sorted(files))])


def unpack_files(packed: bytes) -> dict[str, bytes]:
    """The files of :func:`pack_files`. Raises ValueError for anything else, and for names that lead out of a folder."""
    line, found, content = packed.partition(b"\n")
    try:
        index = [(str(name), int(size)) for name, size in json.loads(line)]
    except (ValueError, TypeError, RecursionError):
        raise ValueError("holds no list of files") from None
    names = [name for name, _ in index]
    if not found or len(set(names)) != len(names) or sum(size for _, size in index) != len(content):
        raise ValueError("does not hold the files that it lists")
    if any(size < 0 for _, size in index) or not all(map(_usable, names)):
        raise ValueError("has an unusable file name")
    files, at = {}, 0
    for name, size in index:
        files[name], at = content[at : at + size], at + size
    return files


def _usable(name: str) -> bool:
    """Whether the name stays below the folder it is written to, on any system."""
    plain = name.isascii() and name.isprintable() and len(name) <= 200 and "\\" not in name and ":" not in name
    return plain and all(part not in ("", ".", "..") for part in name.split("/"))


def deliver_bundle(recipients: Mapping[str, Role], files: Mapping[str, bytes], seal: Seal) -> Flow[None]:
    """Label party: seal the bundle for every recipient, send it, and wait until each has confirmed what it opened.

    Learns: that each recipient has the bundle.
    Leaks: the bundle, to the recipients of the agreement and nobody else; its size, to whoever carries it.
    Model: recipients are trusted with the factor; whoever carries or stores the messages is not.
    Source: docs/protocols/delivery.md#what-is-sent; HPKE, RFC 9180.
    """
    packed = pack_files(files)
    for name, role in recipients.items():
        kind = BundleForCoordinator if role is Role.COORDINATOR else BundleForParty
        yield Send(name, kind(seal(name, packed)))
    for number, (name, role) in enumerate(recipients.items(), 1):
        confirmation: type[BundleReceived] | type[BundleReceivedByCoordinator] = (
            BundleReceivedByCoordinator if role is Role.COORDINATOR else BundleReceived
        )
        got = yield from receive(name, confirmation)
        if got.digest != hashlib.sha256(packed).digest():
            raise RemoteProtocolError("confirmed another bundle than was sent", name)
        yield Progress(number, len(recipients), unit="deliveries")


def receive_bundle(label_party: str, me: Role, unseal: Unseal) -> Flow[dict[str, bytes]]:
    """A recipient's side: the files as they arrived, unverified; the caller verifies hashes and signatures.

    Learns: the factor.
    Leaks: nothing.
    Model: the label party is authenticated by the channel and by its signature on what is sealed.
    Source: docs/protocols/delivery.md#what-is-sent; HPKE, RFC 9180.
    """
    coordinator = me is Role.COORDINATOR
    kind: type[BundleForParty] | type[BundleForCoordinator] = BundleForCoordinator if coordinator else BundleForParty
    got = yield from receive(label_party, kind)
    try:
        packed = unseal(got.sealed)
        files = unpack_files(packed)
    except ValueError as error:
        raise RemoteProtocolError(f"sent a factor that cannot be used: it {error}", label_party) from None
    digest = hashlib.sha256(packed).digest()
    yield Send(label_party, BundleReceivedByCoordinator(digest) if coordinator else BundleReceived(digest))
    return files
