"""What the owner of a terminal is told of a screen: which of its own are in a formula that is named, in its own words.

The label party knows terminals by numbers in an order, and with signs, that only their owner knows. The owner turns
them back at home.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from parties.errors import StorageError
from parties.fields import Count, StrictTerms, Whole
from parties.names import PartyName
from parties.settlement.dossier_store import write_durably
from vfl.arithmetic.received import MalformedError

__all__ = ["Part", "Parts", "WonLine", "keep_won", "kept_won", "read_won"]

_FILE = "screen-won.json"


class Part(StrictTerms):
    """A named formula that a party has a part in, by its own number; ``other`` is "" for a terminal alone."""

    number: Count
    other: PartyName | None = None
    other_number: Whole = -1
    mean: float
    t_first: float
    t_second: float


class Parts(StrictTerms):
    """All of them, and among how many formulas they were named."""

    trials: Count
    parts: Annotated[tuple[Part, ...], Field(max_length=100_000)] = ()


class WonLine(StrictTerms):
    """One of them as its owner reads it. ``column``: the terminal whatever its sign; numbers: as in the report."""

    terminal: str
    other: str
    mean: float
    t_first: float
    t_second: float
    column: str = ""
    number: Whole = -1
    other_party: PartyName | Literal[""] = ""
    other_number: Whole = -1


def read_won(document: bytes, terminals: int) -> Parts:
    """Parse what a label party says. Raises MalformedError where it names a terminal that does not exist."""
    try:
        told = Parts.model_validate_json(document)
    except ValidationError:
        raise MalformedError("said of the named formulas what is no list of them") from None
    if any(part.number >= terminals for part in told.parts):
        raise MalformedError("names a terminal that this party did not bring")
    return told


def keep_won(
    folder: Path, told: Parts, names: Sequence[str], order: NDArray[np.int64], signs: NDArray[np.int64]
) -> tuple[WonLine, ...]:
    """In the owner's words, kept in the run's ``folder``. order, signs: those of the run."""
    lines = []
    for part in told.parts:
        own, sign = names[int(order[part.number])], int(signs[part.number])
        if part.other is None:
            terminal, other = own, ""
        else:
            terminal = own if sign > 0 else f"minus ({own})"
            other = f"terminal {part.other_number} of {part.other}, of the sign that {part.other} gave it"
        mean = part.mean * (sign if part.other is None else 1)
        turn = sign if part.other is None else 1
        lines.append(WonLine(terminal=terminal, other=other, mean=mean, t_first=part.t_first * turn,
                             t_second=part.t_second * turn, column=own, number=part.number,
                             other_party=part.other or "", other_number=part.other_number))  # fmt: skip
    body = _Kept(trials=told.trials, lines=tuple(lines))
    write_durably(folder / _FILE, body.model_dump_json(indent=1))
    return body.lines


class _Kept(StrictTerms):
    trials: Count
    lines: tuple[WonLine, ...]


def kept_won(folder: Path) -> tuple[int, tuple[WonLine, ...]] | None:
    """Formulas tried, and what :func:`keep_won` kept of the run in ``folder``; None where it kept nothing."""
    path = folder / _FILE
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None
    return kept.trials, kept.lines
