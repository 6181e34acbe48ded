"""How many ciphertexts of one operand or answer travel together, so that both ends work at the same time."""

from __future__ import annotations

import math
from collections.abc import Iterator

__all__ = ["parts_of"]

_MESSAGES = 16


def parts_of(blocks: int) -> Iterator[slice]:
    """The ciphertexts of each message: two, which are encrypted together, or more where messages would be many."""
    size = 2 * max(1, math.ceil(blocks / (2 * _MESSAGES)))
    yield from (slice(start, min(start + size, blocks)) for start in range(0, blocks, size))
