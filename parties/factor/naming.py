"""What a factor is called on disk, and where its live records lie."""

from __future__ import annotations

__all__ = ["factor_id"]


def factor_id(consortium: str, label: str) -> str:
    """A file-system-safe name for the factor."""
    raw = f"{consortium}-{label}".lower()
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in raw).strip("-._")
    return safe[:120] or "factor"
