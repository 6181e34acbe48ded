"""Delivery of a finished factor bundle from the label party to the recipients the agreement names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from psi.flow import Flow, Message, Payload, Progress, RemoteProtocolError, Role, Send, message, receive

__all__ = [
    "BundleForCoordinator",
    "BundleForParty",
    "BundleReceived",
    "BundleReceivedByCoordinator",
    "deliver_bundle",
    "receive_bundle",
]

_REVEALS = "the joint factor: scores per instrument and period, and its validation, as the agreement says"
_SOURCE = "FACTORS, Export bundle; run agreement, recipients"


@message(
    "factor.bundle",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.RESULT,
    reveals=_REVEALS,
    source=_SOURCE,
)
class BundleForParty(Message):
    """The bundle's files: names, and contents in the same order."""

    names: tuple[str, ...]
    contents: tuple[bytes, ...]


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

    names: tuple[str, ...]
    contents: tuple[bytes, ...]


@message(
    "factor.received",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.PUBLIC,
    reveals="that the bundle arrived whole",
    source=_SOURCE,
)
class BundleReceived(Message):
    """SHA-256 over what arrived."""

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
    """SHA-256 over what arrived."""

    digest: bytes


def _digest(names: tuple[str, ...], contents: tuple[bytes, ...]) -> bytes:
    whole = hashlib.sha256()
    for name, content in zip(names, contents, strict=True):
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    return whole.digest()


def deliver_bundle(recipients: Mapping[str, Role], files: Mapping[str, bytes]) -> Flow[None]:
    """Label party: send the bundle to every recipient and wait until each has confirmed what arrived.

    Learns: that each recipient has the bundle.
    Leaks: the bundle, to the recipients of the agreement and nobody else.
    Model: recipients are trusted with the factor; the channel encrypts.
    Source: FACTORS, Export bundle.
    """
    names = tuple(sorted(files))
    contents = tuple(files[name] for name in names)
    for name, role in recipients.items():
        kind = BundleForCoordinator if role is Role.COORDINATOR else BundleForParty
        yield Send(name, kind(names, contents))
    for number, (name, role) in enumerate(recipients.items(), 1):
        confirmation: type[BundleReceived] | type[BundleReceivedByCoordinator] = (
            BundleReceivedByCoordinator if role is Role.COORDINATOR else BundleReceived
        )
        got = yield from receive(name, confirmation)
        if got.digest != _digest(names, contents):
            raise RemoteProtocolError("confirmed another bundle than was sent", name)
        yield Progress(number, len(recipients), unit="recipients")


def receive_bundle(label_party: str, me: Role) -> Flow[dict[str, bytes]]:
    """A recipient's side: the files as they arrived, unverified; the caller verifies hashes and signatures.

    Learns: the factor.
    Leaks: nothing.
    Model: the label party is authenticated by the channel.
    Source: FACTORS, Export bundle.
    """
    coordinator = me is Role.COORDINATOR
    kind: type[BundleForParty] | type[BundleForCoordinator] = BundleForCoordinator if coordinator else BundleForParty
    got = yield from receive(label_party, kind)
    if len(got.names) != len(got.contents) or len(set(got.names)) != len(got.names):
        raise RemoteProtocolError("sent a bundle whose names and contents do not match", label_party)
    for name in got.names:
        if name.startswith("/") or ".." in name.split("/") or not name.isprintable() or len(name) > 200:
            raise RemoteProtocolError("sent a bundle with an unusable file name", label_party)
    digest = _digest(got.names, got.contents)
    yield Send(label_party, BundleReceivedByCoordinator(digest) if coordinator else BundleReceived(digest))
    return dict(zip(got.names, got.contents, strict=True))
