"""Padding a set to an agreed bucket: random ids that nobody else has, so that a list's length tells a bucket only.

A party's padding is the same in every run, drawn from a secret of its own: fresh padding would count as change between
runs, and would hide how many real ids changed. Tokens of it are unlinkable between runs as those of real ids are.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from psi.identifiers import IdentifierError

__all__ = ["DUMMY", "FOREIGN", "PADDING", "is_foreign", "padded", "padded_size"]

PADDING = "~PAD."
"""How the ids that fill a list begin; no identifier may."""

DUMMY = "~DUM."
"""How the dummies of an overlap estimate begin."""

FOREIGN = "~ROW."
"""How a party calls a row of the union that it holds no entity for; no identifier may begin with it."""


def padded_size(size: int, bucket: int) -> int:
    """``size`` rounded up to a multiple of ``bucket``; 0: as it is."""
    return size if bucket == 0 else -(-size // bucket) * bucket


def padded(ids: Sequence[str], bucket: int, secret: bytes) -> list[str]:
    """The ids and as many padding ids as the bucket takes. Raises :class:`IdentifierError` for a reserved id."""
    taken = [name for name in ids if name.startswith((PADDING, DUMMY, FOREIGN))]
    if taken:
        raise IdentifierError(f"the identifier {taken[0][:40]!r} begins as padding does: spell it in another way")
    missing = padded_size(len(ids), bucket) - len(ids)
    made = (hmac.digest(secret, number.to_bytes(8, "big"), hashlib.sha256)[:16] for number in range(missing))
    return [*ids, *(f"{PADDING}{name.hex().upper()}" for name in made)]


def is_foreign(name: str) -> bool:
    """Whether this is a row of a union that the party holds no entity for."""
    return name.startswith(FOREIGN)
