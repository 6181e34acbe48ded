"""A number of things in words: 1 party, 3 parties, 12,000 rows."""

from __future__ import annotations

__all__ = ["singular", "things"]

_ODD = {"people": "person", "indices": "index", "aliases": "alias"}


def things(number: int, many: str) -> str:
    """``number`` with its noun, which is given in the plural; words before the noun stay as they are."""
    return f"{number:,} {singular(many) if number == 1 else many}"


def singular(many: str) -> str:
    """One of ``many``, whose last word is a plural."""
    before, _, noun = many.rpartition(" ")
    if noun in _ODD:
        one = _ODD[noun]
    elif noun.endswith("ies"):
        one = noun[:-3] + "y"
    elif noun.endswith(("sses", "xes", "ches")):
        one = noun[:-2]
    else:
        one = noun.removesuffix("s")
    return f"{before} {one}".lstrip()
