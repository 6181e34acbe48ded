"""Times of a confidential fee report: ``python -m benchmarks.fees [key bits] [range bits]``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from vfl.arithmetic.paillier import KEY_BITS, PaillierKey
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.ranges import encrypt_in_range, proves_range

T = TypeVar("T")


def timed(what: str, work: Callable[[], T]) -> T:
    began = time.perf_counter()
    result = work()
    print(f"{what:<10} {time.perf_counter() - began:8.3f} s")
    return result


def main(key_bits: int = KEY_BITS, range_bits: int = 40) -> None:
    stream = SecretStream(os.urandom(32))
    key = timed("key", lambda: PaillierKey(key_bits))
    public, value = key.shared, (1 << range_bits) - 1
    timed("encrypt", lambda: public.encrypt(value, public.unit(stream)))
    ciphertext, proof = timed("prove", lambda: encrypt_in_range(public, value, range_bits, b"", stream))
    assert timed("check", lambda: proves_range(public, ciphertext, range_bits, b"", proof))
    assert timed("open", lambda: key.open(ciphertext))[0] == value
    print(f"proof      {len(proof):8} bytes")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
