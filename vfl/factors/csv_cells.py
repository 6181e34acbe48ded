"""Cells of a CSV that people may open in a spreadsheet: text stays text, and numbers stay numbers.

A spreadsheet takes a cell that begins with = + - @, a tab or a line break for a formula, which may fetch an address or
start a program. Names in a factor come from another organisation.
"""

from __future__ import annotations

import re

__all__ = ["inert"]

_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def inert(text: str) -> str:
    """The text with an apostrophe before it where it would begin a formula; a number, or a sign alone, is what it is.

    Control characters become blanks: a line break inside a cell that a writer leaves unquoted begins another row.
    """
    formula = len(text) > 1 and text.startswith(_BEGINS) and not _NUMBER.fullmatch(text)
    return _CONTROLS.sub(" ", f"'{text}" if formula else text)
