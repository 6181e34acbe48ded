"""SEAL's real objects fit the types that stand for them, and no other."""

from __future__ import annotations

import numpy as np
import pytest

from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.public_key import unpack_key
from vfl.arithmetic.seal_objects import Ciphertext, Plain

TYPES = (Ciphertext, Plain)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(context := Context("bfv-4096", 44), KeyHolder(context).public_key)


def test_each_object_is_what_it_stands_for(evaluator: Evaluator) -> None:
    context = evaluator.context
    plain = context.plain(np.arange(1, 9, dtype=np.uint64))
    key = context.key(unpack_key(KeyHolder(context).public_key, context.key_primes, context.degree))
    assert isinstance(key.data(), Ciphertext)
    for found, kinds in ((evaluator.fresh_zero().product, [Ciphertext]), (plain, [Plain]), (key, [])):
        assert [kind for kind in TYPES if isinstance(found, kind)] == kinds
        assert callable(found.load)
        assert callable(found.save)
