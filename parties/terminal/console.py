"""Where commands write. Names, reasons and purposes come from peers, so no control character of theirs gets out."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

__all__ = [
    "State",
    "complain",
    "correlation",
    "figure",
    "money",
    "pasted",
    "plain",
    "say",
    "screen",
    "section",
    "state",
    "table",
    "tell",
]


_WIDE = 4000
_SENTENCE = 24  # a cell of more than this, and of several words, may fold
_LEAST = 16  # columns that a cell of words needs
_BETWEEN = 3
_WARNING = "warning:"
_MEASURE = 100  # longer lines than this are hard to read


@dataclass
class State:
    """What the options before the command set, for one command line."""

    debug: bool = False
    trace: bool = False


state = State()


def plain(text: object) -> str:
    """Text on one line without control characters, which could move the cursor or recolour a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def screen() -> Console:
    """The terminal, or whatever standard output is. Square brackets are just text."""
    return Console(markup=False, highlight=False, soft_wrap=not sys.stdout.isatty())


def say(*lines: str) -> None:
    """Write lines of our own text to standard output."""
    for line in lines:
        sys.stdout.write(f"{plain(line)}\n")
    sys.stdout.flush()


def tell(*sentences: str) -> None:
    """Write sentences, which nobody copies: on a terminal they are broken between words, and go on two columns in."""
    for line in sentences:
        say(*(textwrap.wrap(plain(line), _measure(), subsequent_indent="  ", break_on_hyphens=False) or [""]))


def _measure() -> int:
    return min(shutil.get_terminal_size().columns, _MEASURE) if sys.stdout.isatty() else _WIDE


def section(title: str, lines: Iterable[str]) -> None:
    """Write lines under a heading; on a terminal they are broken at its edge, and go on below their own beginning.

    A line that begins with "warning:" is red there.
    """
    width = _measure()
    say("", title, "-" * len(title))
    for line in lines:
        told = textwrap.wrap(plain(line), width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        if line.startswith(_WARNING) and sys.stdout.isatty():
            screen().print("\n".join(told), style="bold red")
        else:
            say(*told)


def complain(line: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"{plain(line)}\n")
    sys.stderr.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows under headings; a column called ``>name`` is aligned to the right."""
    grid = Table(title=title or None, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    cells = [[plain(cell) for cell in row] for row in rows]
    terminal = screen()
    below = terminal.is_terminal and not _fits(columns, cells, terminal.width)
    apart = [(row[0], row.pop()) for row in cells] if below else []
    if below:
        *columns, last = columns
    for place, column in enumerate(columns, start=1):
        right = column.startswith(">")
        # only words may fold: a long purpose or definition must not cut the numbers and ids beside it
        sentence = any(" " in one and len(one) > _SENTENCE for row in cells for one in row[place - 1 : place])
        words = not right and ((place == len(columns) and not below) or sentence)
        grid.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=not words,
            overflow="fold" if words else "ellipsis",
        )
    for row in cells:
        grid.add_row(*row)
    if not terminal.is_terminal:
        # a file or pipe has no edge to wrap at
        terminal.width = _WIDE
    terminal.print(grid)
    if any(text for _, text in apart):
        terminal.print(f" {last}:")
        for name, text in apart:
            if text:
                begin = f" {name}  "
                terminal.print(
                    "\n".join(textwrap.wrap(begin + text, terminal.width - 1, subsequent_indent=" " * len(begin)))
                )
        terminal.print()


def _fits(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the last column, which folds, has room beside those that must not be cut."""
    if len(columns) < 2 or columns[-1].startswith(">") or not any(row[-1] for row in cells):
        return True
    taken = 0
    for place, column in enumerate(columns[:-1]):
        longest = max(len(row[place]) for row in cells)
        folds = not column.startswith(">") and any(" " in row[place] and len(row[place]) > _SENTENCE for row in cells)
        taken += (_LEAST if folds else max(longest, len(column.removeprefix(">")))) + _BETWEEN
    return taken + min(_LEAST, max(len(row[-1]) for row in cells)) <= width


def correlation(value: float | None) -> str:
    """An IC to four digits, with its sign; a dash where there is none."""
    return figure(value, "+.4f")


def figure(value: float | None, form: str) -> str:
    """A number in a format; a dash where there is none or it is not defined, never nan."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)


def pasted(path: object) -> str:
    """A path as a shell reads it, for a line that is printed to be copied."""
    return shlex.quote(str(path))


def money(minor: int, scale: int, unit: str) -> str:
    """Minor units as an amount, exactly."""
    return f"{Decimal(minor).scaleb(-scale):,.{scale}f} {unit}"
