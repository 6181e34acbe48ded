"""Encrypted products of made-up numbers on this machine, both sides, for an agreement that is not signed yet.

It finds a library that is missing or broken when nothing has been promised yet. How much memory and time a whole run
takes is estimated elsewhere (``entente run review``).
"""

from __future__ import annotations

import os
import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.errors import ConfigError
from psi.flow import Flow, run_local
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING, PrimeRing
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import Packing, Prepared, choose_packing
from vfl.protocols.product_flows import evaluate_product, hold_product
from vfl.protocols.slots import SLOTS, SlotEvaluator, evaluate_slots, hold_slots
from vfl.terms import AnchoredModel, FederatedModel

__all__ = ["rehearse"]

U64 = NDArray[np.uint64]
_ROWS = 256


def rehearse(agreement: Agreement) -> float:
    """Carry out a matrix product and, of a sealed kind, one element by element, once in a process; the seconds taken.

    Raises :class:`ConfigError` where they fail or give something else than plain arithmetic.
    """
    if isinstance(agreement.model, FederatedModel):
        return 0.0  # nothing of it is encrypted but connections
    columns = max(len(party.columns) for party in agreement.features)
    width = agreement.model.embedding_width
    if isinstance(agreement.model, AnchoredModel):
        return _rehearsed("", 0, columns, width)
    return _rehearsed(agreement.parameter_set, agreement.fixed_point.ring_bits, columns, width)


@cache
def _rehearsed(parameter_set: str, bits: int, columns: int, width: int) -> float:
    """parameter_set: of a ring of 2**bits; "" for the prime ring, in which elements are multiplied too."""
    began = time.perf_counter()
    try:
        if parameter_set:
            _matrix_product(Context(parameter_set, bits), Ring(bits), columns, width)
        else:
            _matrix_product(Context(COEFFICIENT_SET, PRIME_RING.bits), PRIME_RING, columns, width)
            _slot_product()
    except MemoryError:
        raise ConfigError("this machine has not the memory for one encrypted product: close what else runs") from None
    return time.perf_counter() - began


def _matrix_product(context: Context, ring: Ring | PrimeRing, columns: int, width: int) -> None:
    key, stream = KeyHolder(context), SecretStream(os.urandom(32))
    left = (np.arange(_ROWS * columns, dtype=np.int64) % 7 - 3).reshape(_ROWS, columns)
    right = ring.uniform(stream, (columns, width))
    packing: Packing = choose_packing(_ROWS, columns, width, context.degree)
    prepared = Prepared(Evaluator(context, key.public_key), left, packing)
    flows: dict[str, Flow[U64]] = {
        "holder": hold_product("other", "rehearsal", right, _ROWS, key, packing),
        "other": evaluate_product("holder", "rehearsal", prepared, width, stream),
    }
    made = run_local(flows)
    wanted = ring.matmul(left, right)
    _check(bool((ring.add(made["holder"], made["other"]) == wanted).all()))


def _slot_product() -> None:
    key, stream = KeyHolder(Context(SLOT_SET, PRIME_RING.bits)), SecretStream(os.urandom(32))
    held, own = PRIME_RING.uniform(stream, (SLOTS,)), PRIME_RING.uniform(stream, (SLOTS,))
    side = SlotEvaluator(Evaluator(key.context, key.public_key), stream)
    flows: dict[str, Flow[U64]] = {
        "holder": hold_slots("other", "rehearsal", held, key),
        "other": evaluate_slots("holder", "rehearsal", own, side),
    }
    made = run_local(flows)
    _check(bool((PRIME_RING.add(made["holder"], made["other"]) == PRIME_RING.mul(held, own)).all()))


def _check(right: bool) -> None:
    if not right:
        raise ConfigError(
            "an encrypted product of made-up numbers comes out wrong on this machine: install tenseal anew, and do "
            "not sign before entente doctor passes"
        )
