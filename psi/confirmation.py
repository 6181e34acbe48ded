"""Confirmation: parties compare, directly and signed, what they were given before a row is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from psi.commitment import framed
from psi.flow import Flow, RemoteProtocolError, Send, receive
from psi.group import join_points
from psi.messages import AlignmentConfirmation

__all__ = ["confirm", "entity_digest", "token_digest"]

_CONFIRM = b"entente/psi/1/confirmation\x00"


def confirm(
    me: str,
    parties: Sequence[str],
    coordinator: str,
    run: bytes,
    tokens: bytes,
    entities: bytes,
    sign: Callable[[bytes], bytes],
    verify: Callable[[str, bytes, bytes], bool],
) -> Flow[None]:
    """Compare digests with every other party, so that neither the coordinator nor a hop can part them.

    Learns: whether all hold the same two digests.
    Leaks: nothing; a digest is keyed by tokens that never travel between parties.
    Model: semi-honest parties; a coordinator that answers differently to different parties is caught.
    Source: docs/protocols/alignment.md#confirmation.
    """
    others = [name for name in parties if name != me]
    mine = AlignmentConfirmation(tokens, entities, sign(_confirmed(run, me, tokens, entities)))
    for name in others:
        yield Send(name, mine)
    for name in others:
        got = yield from receive(name, AlignmentConfirmation)
        if not verify(name, _confirmed(run, name, got.tokens, got.entities), got.signature):
            raise RemoteProtocolError(
                "the signature on its alignment confirmation does not fit its key and this run", name
            )
        if got.tokens != tokens:
            raise RemoteProtocolError(f"gave {name!r} other common tokens than this party", coordinator)
        if got.entities != entities:
            raise RemoteProtocolError("reads other entities from the common tokens: a list was put out of order", name)


def _confirmed(run: bytes, party: str, tokens: bytes, entities: bytes) -> bytes:
    return _CONFIRM + framed(run, party.encode(), tokens, entities)


def token_digest(commitments: bytes, common: Sequence[bytes]) -> bytes:
    """Names an agreed order of tokens; it tells nothing of ids."""
    return hashlib.sha256(b"entente/psi/1/tokens\x00" + commitments + join_points(common)).digest()


def entity_digest(commitments: bytes, common: Sequence[bytes], shared: Sequence[str]) -> bytes:
    """Names what the tokens stand for, keyed by them."""
    # the tokens key it: they never travel between parties, so a recorded link tells nothing of the entities
    names = framed(*map(str.encode, shared))
    return hashlib.sha256(b"entente/psi/1/entities\x00" + commitments + join_points(common) + names).digest()
