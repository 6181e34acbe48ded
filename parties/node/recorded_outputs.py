"""Outputs of a consortium's runs that this node holds, and the check that none of them comes back as its own column.

A label party records the embeddings and scores of each run, sums and every party's own where they opened
(``runs/RUN/outputs.npz``); a recipient has the factor's scores in its bundle. Before a run each column of this node is
compared with them, one by one and mixed. What a column was in the run that made an output is kept too
(``columns.npz``): that column is no output, and another one under its name is. ``reward.outputs = "allowed"`` in the
agreement leaves the check out.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.errors import AgreementError, DataError, StorageError
from parties.node.context import RunContext
from vfl.contribution.recycled import EXPLAINED, enough_rows, explained_by_outputs
from vfl.factors.bounded_parquet import read_frame
from vfl.factors.bundle_metadata import SCORES
from vfl.factors.panel import FeaturePanel

__all__ = [
    "check_own_columns",
    "column_digests",
    "delivered_groups",
    "delivered_scores",
    "record_columns",
    "record_outputs",
    "recorded_groups",
]

F64 = NDArray[np.float64]
_FILE, _COLUMNS = "outputs.npz", "columns.npz"
_OUTPUT, _COLUMN = "output_", "column_"
_KEPT_PERIODS = 26
"""Periods of which a run's own columns are kept, about."""


def column_digests(panel: FeaturePanel) -> dict[str, str]:
    """SHA-256 of each column's values over the run's rows, hex: the provenance that the audit log keeps."""
    return {
        name: hashlib.sha256(np.ascontiguousarray(panel.values[:, :, place]).tobytes()).hexdigest()
        for place, name in enumerate(panel.columns)
    }


def record_outputs(
    context: RunContext, periods: Sequence[str], entities: Sequence[str], outputs: Mapping[str, F64]
) -> None:
    """Keep a run's outputs, (T, n, m) by name, with their periods and entities; an entry in the audit log."""
    path = context.run_folder / _FILE
    _write(path, np.array(periods), entities, {f"{_OUTPUT}{name}": values for name, values in outputs.items()})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    context.audit.append("outputs", context.run_id, {"sha256": digest, "names": sorted(outputs)})


def recorded_groups(folder: Path, run_id: str, periods: Sequence[str], entities: Sequence[str]) -> dict[str, F64]:
    """Outputs of other runs on the grid of this one, (T, n, m) by where they came from; NaN where a run has none.

    Raises :class:`StorageError` for a file that cannot be read.
    """
    groups: dict[str, F64] = {}
    for path in sorted((folder / "runs").glob(f"*/{_FILE}")):
        if path.parent.name != run_id:
            for name, values in _read(path, _OUTPUT, periods, entities).items():
                groups[f"{name} of run {path.parent.name[:12]}"] = values
    return groups


def _write(path: Path, periods: NDArray[np.str_], entities: Sequence[str], named: Mapping[str, F64]) -> None:
    arrays = {name: values.astype(np.float32) for name, values in named.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez_compressed(file, periods=periods, entities=np.array(entities), **arrays)  # type: ignore[arg-type]
        path.with_suffix(".part").replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None


def _read(path: Path, kind: str, periods: Sequence[str], entities: Sequence[str]) -> dict[str, F64]:
    """What was written under names of this kind, on the grid of these periods and entities."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            rows, columns = _places(kept["periods"], periods), _places(kept["entities"], entities)
            return {
                name.removeprefix(kind): _moved(kept[name].astype(np.float64), rows, columns)
                for name in kept.files
                if name.startswith(kind)
            }
    except (OSError, ValueError, KeyError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or remove it") from None


def delivered_groups(folder: Path, run_id: str, dates: Sequence[str], entities: Sequence[str]) -> dict[str, F64]:
    """Scores of the factors this node holds, (T, n, 1) by version; ``dates`` are those of this run's cutoffs.

    Raises :class:`StorageError` for a file that cannot be read.
    """
    groups: dict[str, F64] = {}
    for path in sorted((folder / "factors").glob("*/*/factor.parquet")):
        if path.parent.name == run_id[:12]:
            continue
        try:
            frame = read_frame(path.read_bytes())["score"].unstack()
        except (OSError, ValueError, KeyError):
            raise StorageError(f"{path}: cannot be read; remove this version or restore it") from None
        frame.index = pd.DatetimeIndex(frame.index).strftime("%Y-%m-%d")
        if len(frame.index) != len(set(frame.index)):
            continue
        rows, columns = _places(np.array(frame.index), dates), _places(np.array(frame.columns), entities)
        groups[f"score of run {path.parent.name}"] = _moved(frame.to_numpy(dtype=np.float64)[..., None], rows, columns)
    return groups


def delivered_scores(folder: Path, run_id: str, entities: Sequence[str]) -> dict[str, F64]:
    """Scores of static data that this node holds, (2, n, scores) by version. Raises as :func:`delivered_groups`."""
    groups: dict[str, F64] = {}
    for path in sorted((folder / "factors").glob(f"*/*/{SCORES}")):
        if path.parent.name == run_id[:12]:
            continue
        try:
            table = read_frame(path.read_bytes())
            columns = [name for name in table.columns if name == "score" or str(name).startswith("score_")]
            values, names = table[columns].to_numpy(dtype=np.float64), table["entity"].to_numpy()
            if not columns:
                raise ValueError
        except (OSError, ValueError, KeyError):
            raise StorageError(f"{path}: cannot be read; remove this version or restore it") from None
        moved = _moved(values[None], np.zeros(1, dtype=np.int64), _places(names, entities))
        groups[f"score of run {path.parent.name}"] = np.concatenate([np.full_like(moved, np.nan), moved])
    return groups


def _places(names: NDArray[np.str_], wanted: Sequence[str]) -> NDArray[np.int64]:
    place = {str(name): number for number, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in wanted], dtype=np.int64)


def _moved(values: F64, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> F64:
    moved = np.full((len(rows), len(columns), values.shape[2]), np.nan)
    known = np.ix_(rows >= 0, columns >= 0)
    moved[known] = values[np.ix_(rows[rows >= 0], columns[columns >= 0])]
    return moved


def record_columns(context: RunContext, periods: Sequence[str], entities: Sequence[str], panel: FeaturePanel) -> None:
    """Keep what this node's columns were in some periods, so that they are known again by more than a name."""
    kept = slice(None, None, max(1, len(periods) // _KEPT_PERIODS))
    _write(
        context.run_folder / _COLUMNS,
        np.array(periods)[kept],
        entities,
        {f"{_COLUMN}{name}": panel.values[kept, :, place, None] for place, name in enumerate(panel.columns)},
    )


def _same_columns(
    context: RunContext, panel: FeaturePanel, start: str, periods: Sequence[str], entities: Sequence[str]
) -> NDArray[np.bool_]:
    """Which columns went into the run that made an output: what went into it is not made of it. bool (d,)."""
    same = np.zeros(len(panel.columns), dtype=bool)
    for folder in (context.folder / "runs").glob(f"{start}*"):
        if (folder / _COLUMNS).is_file():
            older = _read(folder / _COLUMNS, _COLUMN, periods, entities)
            for place, name in enumerate(panel.columns):
                if name in older:
                    itself = explained_by_outputs(panel.values[:, :, [place]], [older[name]])
                    same[place] |= bool(itself[0] >= EXPLAINED)
            continue
        with contextlib.suppress(OSError, ValidationError, AgreementError):  # a run of an earlier version: by name
            then = Agreement.model_validate_json((folder / "agreement.json").read_bytes()).party(context.me).columns
            same |= np.isin(panel.columns, then)
    return same


def _joined(groups: Mapping[str, F64], rows: int) -> dict[str, tuple[F64, tuple[str, ...]]]:
    """Groups by where they came from, each with the runs it is of: single ones, those of a run, and of all runs.

    A mixture of outputs is an output. Of many runs as many are joined as have rows enough to tell, latest first.
    """
    found: dict[str, tuple[F64, tuple[str, ...]]] = {
        source: (group, (source.rpartition(" ")[2],)) for source, group in groups.items()
    }
    by_run: dict[str, list[F64]] = {}
    for source, group in groups.items():
        by_run.setdefault(source.rpartition(" ")[2], []).append(group)
    every: list[F64] = []
    runs: list[str] = []
    for run, parts in reversed(by_run.items()):
        if len(parts) > 1:
            found[f"outputs of run {run}, mixed"] = (np.concatenate(parts, axis=2), (run,))
        if enough_rows(rows, sum(part.shape[2] for part in (*every, *parts))):
            every += parts
            runs.append(run)
    if len(runs) > 1:
        found["outputs of several runs, mixed"] = (np.concatenate(every, axis=2), tuple(runs))
    return found


def check_own_columns(context: RunContext, panel: FeaturePanel, entities: Sequence[str]) -> None:
    """Log what each of this node's columns is, and refuse one that an earlier run's outputs make up.

    Raises :class:`DataError` naming column and output.
    """
    context.audit.append("columns", context.run_id, {"sha256": column_digests(panel)})
    if context.agreement.scores is not None:
        return  # they are the trained run's, which looked, and nobody is paid for scores of new periods
    record_columns(context, context.agreement.periods, entities, panel)
    if context.agreement.reward.outputs == "allowed" or not panel.values.shape[-1]:
        return
    periods, calendar = context.agreement.periods, context.agreement.calendar
    groups = recorded_groups(context.folder, context.run_id, periods, entities)
    if calendar is None:
        groups |= delivered_scores(context.folder, context.run_id, entities)
    else:
        dates = [f"{cutoff.astimezone(UTC):%Y-%m-%d}" for cutoff in calendar.cutoffs]
        groups |= delivered_groups(context.folder, context.run_id, dates, entities)
    for source, (group, runs) in _joined(groups, len(entities)).items():
        share = explained_by_outputs(panel.values, [group])
        for run in runs if share.max() >= EXPLAINED else ():
            share[_same_columns(context, panel, run, periods, entities)] = 0.0
        worst = int(np.argmax(share))
        if share[worst] >= EXPLAINED:
            raise DataError(
                f"column {panel.columns[worst]!r} is {share[worst]:.0%} an output of an earlier run ({source}): what "
                "this consortium has mined is no data of your own; take the column out, or agree on "
                'reward.outputs = "allowed"'
            )
