"""Bytes that arrived from somebody else and are not what they must be: an error of its own, so that ours is not theirs.

Whoever parses a peer's bytes catches this alone and names the peer. A ValueError of our own arithmetic passes.
"""

from __future__ import annotations

__all__ = ["MalformedError"]


class MalformedError(ValueError):
    """What arrived has another length, another shape, or a value out of range."""
