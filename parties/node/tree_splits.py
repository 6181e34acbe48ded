"""The splits that a run of trees took, in a node's run folder: what ``entente run importance`` shows, and nobody else.

``splits.jsonl``, or a file for each class of static data, has a line for each split that this node knows of. At a
feature party these are its own, with their
columns; at the label party all of them, with what each gained, the columns of its own, and the numbers that opened.
A tree that is grown again after a crash writes anew.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.errors import ConfigError, StorageError
from parties.node.context import RunContext
from parties.private_files import FREE_SPACE, open_private
from vfl.models.trees.splits import NOWHERE, TakenSplit

__all__ = ["NO_COLUMN", "ColumnImportance", "Importance", "SplitsFile", "importance_of", "opened_numbers"]

_FILE = "splits.jsonl"
_EVERY = "splits*.jsonl"

NO_COLUMN = "(bits at random)"
"""Where a candidate came of no column: no threshold of any had enough rows on both sides."""


class SplitsFile:
    """Writes splits as they are taken. Raises :class:`StorageError` where it cannot.

    named: which trees they are of, where the run grows several models of them.
    """

    def __init__(self, context: RunContext, named: str = "") -> None:
        self._path = _path(context.run_folder, named)
        self._mended = False

    def begin(self, step: int) -> None:
        if not self._mended:
            self._mend()
        self._write({"begun": step})

    def _mend(self) -> None:
        """Take away a last line that a crash cut short."""
        self._mended = True
        try:
            with open(self._path, "r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror}); {FREE_SPACE}") from None

    def take(self, split: TakenSplit) -> None:
        line: dict[str, Any] = {"step": split.step, "level": split.level, "owner": split.owner, "column": split.column}
        if split.gain is not None:
            line["gain"] = split.gain if math.isfinite(split.gain) else 0.0
        if split.opened is not None:
            line["opened"] = base64.b64encode(split.opened.astype("<u4").tobytes()).decode("ascii")
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(self._path, "a", encoding="utf-8", opener=open_private) as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror}); {FREE_SPACE}") from None


@dataclass(frozen=True)
class ColumnImportance:
    """Of one column, or one party: how many splits are its own, how many of them at the first level, and their gain.

    gain: of all parties' splits together, from 0 to 1; None where this node is not told.
    """

    name: str
    splits: int
    first: int
    gain: float | None


@dataclass(frozen=True)
class Importance:
    """What a node knows of a run's trees.

    trees: grown so far. columns: its own, the most important first. parties: everybody's splits, at the label party.
    """

    trees: int
    columns: tuple[ColumnImportance, ...]
    parties: tuple[ColumnImportance, ...]


def importance_of(run_folder: Path, me: str, names: Sequence[str]) -> Importance:
    """Read what a node wrote of a run. names: of its columns, as agreed.

    Raises :class:`ConfigError` where the run has grown no tree here, :class:`StorageError` for a damaged file.
    """
    trees, splits = 0, list[TakenSplit]()
    for path in sorted(run_folder.glob(_EVERY)) or [run_folder / _FILE]:
        grown, taken = _read(path)
        trees, splits = trees + grown, splits + taken
    whole = sum(split.gain or 0.0 for split in splits)
    known = any(split.gain is not None for split in splits)

    def summed(name: str, some: Sequence[TakenSplit]) -> ColumnImportance:
        gain = sum(split.gain or 0.0 for split in some) / whole if whole > 0 else 0.0
        return ColumnImportance(name, len(some), sum(split.level == 0 for split in some), gain if known else None)

    mine = [split for split in splits if split.owner == me]
    if any(not NOWHERE <= split.column < len(names) for split in mine):
        raise StorageError(f"{run_folder / _FILE}: names columns that the agreement does not have; restore it")
    columns = [summed(name, [s for s in mine if s.column == place]) for place, name in enumerate(names)]
    random = [split for split in mine if split.column == NOWHERE]
    columns += [summed(NO_COLUMN, random)] if random else []
    owners = sorted({split.owner for split in splits} | {me}) if known else []
    parties = [summed(owner, [split for split in splits if split.owner == owner]) for owner in owners]

    def order(one: ColumnImportance) -> tuple[float, int]:
        return -(one.gain or 0.0), -one.splits

    return Importance(trees, tuple(sorted(columns, key=order)), tuple(sorted(parties, key=order)))


def _path(run_folder: Path, named: str) -> Path:
    return run_folder / (f"splits-{named}.jsonl" if named else _FILE)


def opened_numbers(run_folder: Path, named: str = "") -> dict[tuple[int, int], NDArray[np.uint64]]:
    """At the label party: the numbers of 32 bits that opened, flat, by step and level.

    Raises as :func:`importance_of`.
    """
    splits = _read(_path(run_folder, named))[1]
    return {(split.step, split.level): split.opened for split in splits if split.opened is not None}


def _numbers(said: dict[str, Any]) -> NDArray[np.uint64] | None:
    """Of a line, where it has any. Raises ValueError."""
    if "opened" not in said:
        return None
    return np.frombuffer(base64.b64decode(said["opened"], validate=True), "<u4").astype(np.uint64)


def _read(path: Path) -> tuple[int, list[TakenSplit]]:
    """Trees that were grown, and their splits. A last line that a crash cut short is left out."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except FileNotFoundError:
        raise ConfigError(f"{path.parent}: no tree has been grown in this run yet: wait until it trains") from None
    except (OSError, UnicodeDecodeError):
        raise StorageError(f"{path}: cannot be read; restore it from a backup") from None
    taken: dict[int, dict[int, TakenSplit]] = {}
    for number, line in enumerate(lines[:-1], start=1):
        try:
            said = json.loads(line)
            if "begun" in said:
                taken = {step: one for step, one in taken.items() if step < int(said["begun"])}
                taken[int(said["begun"])] = {}
                continue
            gain = float(said["gain"]) if "gain" in said else None
            split = TakenSplit(
                int(said["step"]), int(said["level"]), str(said["owner"]), int(said["column"]), gain, _numbers(said)
            )  # fmt: skip
            taken[split.step][split.level] = split
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StorageError(f"{path}: line {number} is no split; restore it from a backup") from None
    return len(taken), [split for one in taken.values() for split in one.values()]
