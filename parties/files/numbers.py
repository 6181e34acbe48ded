"""Numbers as people write them: plain ones are read, every other way of writing is named with what to write instead."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST", "MISSING", "NumberFault", "Numbers", "numbers_of_texts", "plain_number"]

MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "#n/a n/a", "null", "none", "<na>", "nat"))
"""What stands for no value, in any case of letters. "-" is none of these: in accounts it stands for zero."""
LARGEST = 1e50
"""Larger ones overflow where they are squared twice, and no price or score is."""

_PLAIN_SIGNS = frozenset("0123456789+-.eE")
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(
    r"[+-]?[1-9]\d{0,2}(?P<sign>[,' \u00a0\u202f\u2009\u2019])\d{3}(?:(?P=sign)\d{3})*(?P<rest>\.\d+)?", re.ASCII
)
_CONTINENTAL = re.compile(r"[+-]?(?:\d{1,3}(?:[.' \u00a0\u202f]\d{3})+|\d+),\d+|[+-]?\d{1,3}(?:\.\d{3}){2,}", re.ASCII)
_MONEY = "$€£¥₹"
_SPREADSHEET_ERROR = re.compile(r"#(?:DIV/0!|VALUE!|REF!|NAME\?|NUM!|NULL!|SPILL!|GETTING_DATA)", re.IGNORECASE)


class NumberFault(ValueError):
    """A text that is no plain number. ``place``: its position. ``instead``: what to write, each one way to mean it."""

    def __init__(self, place: int, reason: str, instead: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.place = place
        self.instead = instead


@dataclass(frozen=True)
class Numbers:
    """values: float64 (N,), NaN where missing. missing: how often each way to say so occurs, "" for an empty cell."""

    values: NDArray[np.float64]
    missing: Counter[str] = field(default_factory=Counter)


def numbers_of_texts(texts: Sequence[str]) -> Numbers:
    """Plain numbers, and NaN for what says that there is none. Raises :class:`NumberFault` for the first other text."""
    if _PLAIN_SIGNS.issuperset("".join(texts)):
        try:
            values = np.array([float(text) for text in texts], dtype=np.float64)
        except ValueError:
            pass  # an empty cell, or signs in an order that is no number: one by one
        else:
            if bool((np.abs(values) <= LARGEST).all()):
                return Numbers(values)
    missing: Counter[str] = Counter()
    values = np.empty(len(texts))
    for place, text in enumerate(texts):
        cell = text.strip()
        if cell.casefold() in MISSING:
            missing[cell] += 1
            values[place] = math.nan
        else:
            values[place] = _number(place, cell)
    return Numbers(values, missing)


def plain_number(text: str) -> bool:
    """Whether a text is a number that is read as it stands, or says that there is none."""
    cell = text.strip()
    return cell.casefold() in MISSING or bool(_PLAIN.fullmatch(cell) and abs(float(cell)) <= LARGEST)


def _number(place: int, cell: str) -> float:
    if _PLAIN.fullmatch(cell):
        value = float(cell)
        if math.isinf(value):
            raise NumberFault(place, f"{cell} is not finite; leave it empty where there is none", ("",))
        if abs(value) > LARGEST:
            raise NumberFault(place, f"{cell} is too large to compute with; mend it, or leave it empty", ("",))
        return value
    reason, instead = _named(cell)
    raise NumberFault(place, reason, instead)


def _named(cell: str) -> tuple[str, tuple[str, ...]]:
    """What a text that is no plain number is, and what to write instead."""
    if cell.casefold().lstrip("+-") in ("inf", "infinity", "∞"):
        return f"{cell} is not finite; leave it empty where there is none", ("",)
    if _SPREADSHEET_ERROR.fullmatch(cell):
        return f"{cell} is a spreadsheet's error; leave it empty where there is none", ("",)
    if cell.endswith("%"):
        inner = _unformatted(cell[:-1].strip())
        shares = tuple(_text(float(number) / 100) for number in inner)
        return f"{cell!r} is a percentage; write {' or '.join(shares) or 'a fraction'}", shares
    if cell.startswith("(") and cell.endswith(")"):
        inner = _unformatted(cell[1:-1].strip().lstrip(_MONEY))
        below = tuple(f"-{number}" for number in inner)
        return f"{cell!r} is a negative number as accounts write it; write {' or '.join(below) or 'it with a -'}", below
    bare = cell.strip(_MONEY + " ")
    signed = f"-{cell[1:].strip(_MONEY + ' ')}" if cell[:1] == "-" else bare
    if any(sign in cell for sign in _MONEY):
        inner = _unformatted(signed)
        return f"{cell!r} has a currency sign; write {' or '.join(inner) or 'the number alone'}", inner
    ascii_minus = cell.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")
    if ascii_minus != cell and _PLAIN.fullmatch(ascii_minus):
        return f"{cell!r} has a dash for a minus; write {ascii_minus}", (ascii_minus,)
    inner = _unformatted(cell)
    if inner:
        return f"{cell!r} has a thousands separator or a decimal comma; write {' or '.join(inner)}", inner
    return f"{cell!r} is no number; mend it, or leave it empty where there is none", ("",)


def _unformatted(text: str) -> tuple[str, ...]:
    """Every plain number that a formatted one may mean."""
    if _PLAIN.fullmatch(text):
        return (text,)
    ways = []
    if found := _THOUSANDS.fullmatch(text):
        ways.append(text.replace(found["sign"], ""))
    if _CONTINENTAL.fullmatch(text):
        ways.append(re.sub(r"[.' \u00a0\u202f]", "", text).replace(",", "."))
    return tuple(way for way in ways if _PLAIN.fullmatch(way))


def _text(value: float) -> str:
    return f"{value:.12g}"
