"""The session keys of the prime ring's two modes, from their holder to an evaluator."""

from __future__ import annotations

from psi.flow import Flow, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError
from vfl.protocols.slot_messages import PrimeKey

__all__ = ["announce_key", "receive_key"]


def announce_key(peer: str, key: KeyHolder) -> Flow[None]:
    """Key holder: send the public key of this session, of coefficient or of slot mode.

    Learns: nothing.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/product.md#key.
    """
    yield Send(peer, PrimeKey(key.context.name, key.public_key))


def receive_key(peer: str, parameter_set: str) -> Flow[Evaluator]:
    """Evaluator: take the key holder's public key for the agreed parameter set of the prime ring.

    Learns: the public key.
    Leaks: nothing.
    Model: a malicious key holder does not choose its key's second polynomial, which is the expansion of a seed.
    Source: docs/protocols/product.md#key.
    """
    announced = yield from receive(peer, PrimeKey)
    if announced.parameter_set != parameter_set:
        raise RemoteProtocolError("chose other encryption parameters than the agreement", peer)
    context = Context(parameter_set, PRIME_RING.bits)
    try:
        return Evaluator(context, announced.key)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None
