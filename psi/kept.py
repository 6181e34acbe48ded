"""Rows kept from an earlier alignment: everyone makes sure that all hold the same ones, and nothing is intersected.

When some parties of a run go on without another, the entities that *all* of them had in common are known to each who
stays. A fresh intersection among fewer parties would be larger, and whoever compares the two learns entities that the
party which left does not hold. Keeping the old rows tells nobody anything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive

__all__ = ["KeptRows", "confirm_kept"]

_DOMAIN = b"entente/psi/1/kept\x00"


@message(
    "psi.kept",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.COMMITMENT,
    reveals="whether sender and receiver kept the same rows of the earlier run, which both know",
    source="digest comparison, docs/protocols/alignment.md#rows-kept",
)
class KeptRows(Message):
    """A digest of this run, the earlier run and the entities kept, in shared order."""

    digest: bytes


def confirm_kept(me: str, parties: Sequence[str], ids: Sequence[str], *, run: bytes, earlier: bytes) -> Flow[None]:
    """Compare the rows that this party kept with everyone's.

    ids: the common entities of the ``earlier`` run in shared order; run, earlier: 32 bytes.
    Raises :class:`RemoteProtocolError` naming a peer that kept others.

    Learns: whether each other party kept the same rows.
    Leaks: to each other party a digest of rows that it knows itself, bound to both runs.
    Model: semi-honest; a party of the earlier run that gives a false digest stops the run and learns nothing.
    Source: digest comparison, docs/protocols/alignment.md#rows-kept.
    """
    state = hashlib.sha256(_DOMAIN + run + earlier)
    for name in ids:
        raw = name.encode()
        state.update(len(raw).to_bytes(4, "little") + raw)
    digest = state.digest()
    others = [name for name in parties if name != me]
    for name in others:
        yield Send(name, KeptRows(digest))
    for name in others:
        got = yield from receive(name, KeptRows)
        if not hmac.compare_digest(got.digest, digest):
            raise RemoteProtocolError(
                "kept other rows of the earlier run than this party: propose to go on with rows = fresh", name
            )
