"""``trials.parquet``: every configuration tried, with its per-period rank ICs, so that a search can be counted.

One row per configuration. Predecessors' rows travel along, so the file of a run holds all that led to it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vfl.factors.bounded_parquet import read_table

__all__ = ["FILE", "Trial", "all_trials", "read_trials", "series_of", "write_trials"]

Floats = NDArray[np.float64]

FILE = "trials.parquet"

_MOST_VALUES = 5_000_000
_SCHEMA = pa.schema(
    [
        pa.field("trial", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("predecessor", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("terms", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("selected", pa.bool_(), nullable=False),
        pa.field("periods", pa.list_(pa.string()), nullable=False),
        pa.field("rank_ic", pa.list_(pa.float64()), nullable=False),
    ],
    metadata={
        "schema_version": "1",
        "terms": "canonical JSON of the configuration",
        "rank_ic": "out-of-sample rank IC per period; NaN where the period has none",
        "selected": "whether the exported factor comes from this row",
    },
)


@dataclass(frozen=True)
class Trial:
    """One configuration. rank_ic: per name in ``periods``, NaN where there is none.

    ``terms`` hold all that was chosen: model, schedule, columns, label. ``predecessor`` is the run before, "" if none.
    """

    run_id: str
    kind: str
    terms: Mapping[str, Any]
    seed: int
    periods: tuple[str, ...]
    rank_ic: tuple[float, ...]
    selected: bool = False
    predecessor: str = ""

    def __post_init__(self) -> None:
        if len(self.periods) != len(self.rank_ic):
            raise ValueError(f"a trial of {len(self.periods)} periods has {len(self.rank_ic)} rank ICs")

    @property
    def identity(self) -> str:
        """SHA-256 (hex) of kind, terms and seed: a configuration that is run again is no new trial."""
        told = json.dumps([self.kind, dict(self.terms), self.seed], sort_keys=True, allow_nan=False)
        return hashlib.sha256(told.encode()).hexdigest()


def all_trials(groups: Iterable[Sequence[Trial]]) -> tuple[Trial, ...]:
    """The trials of several runs or files, each once, in the order they first come."""
    found: dict[str, Trial] = {}
    for group in groups:
        for trial in group:
            found.setdefault(trial.identity, trial)
    return tuple(found.values())


def write_trials(trials: Sequence[Trial]) -> bytes:
    """The trials as Parquet bytes; equal trials give equal bytes. Raises ValueError unless exactly one is selected."""
    chosen = sum(trial.selected for trial in trials)
    if chosen != 1:
        raise ValueError(f"{chosen} trials are marked as selected: the exported factor comes from exactly one")
    rows = [
        {
            "trial": trial.identity,
            "run_id": trial.run_id,
            "predecessor": trial.predecessor,
            "kind": trial.kind,
            "terms": json.dumps(dict(trial.terms), sort_keys=True, separators=(",", ":"), allow_nan=False),
            "seed": trial.seed,
            "selected": trial.selected,
            "periods": list(trial.periods),
            "rank_ic": list(trial.rank_ic),
        }
        for trial in trials
    ]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), sink, version="2.6", compression="zstd")
    return sink.getvalue()


def read_trials(content: bytes) -> tuple[Trial, ...]:
    """The trials of a file. Raises ValueError on a file of another schema."""
    try:
        table = read_table(content, _MOST_VALUES)
    except ValueError as error:
        raise ValueError(f"{FILE}: {error}: fetch the bundle again") from None
    if not table.schema.equals(_SCHEMA, check_metadata=False):
        raise ValueError(f"{FILE} has other columns than this version knows: {', '.join(table.column_names)}")
    return tuple(
        Trial(
            run_id=row["run_id"],
            kind=row["kind"],
            terms=json.loads(row["terms"]),
            seed=row["seed"],
            periods=tuple(row["periods"]),
            rank_ic=tuple(row["rank_ic"]),
            selected=row["selected"],
            predecessor=row["predecessor"],
        )
        for row in table.to_pylist()
    )


def series_of(trials: Sequence[Trial]) -> tuple[tuple[str, ...], Floats]:
    """The periods of any trial, sorted, and the rank ICs on them, float64 (n_trials, T), NaN where a trial has none."""
    periods = tuple(sorted({name for trial in trials for name in trial.periods}))
    place = {name: i for i, name in enumerate(periods)}
    table = np.full((len(trials), len(periods)), np.nan)
    for row, trial in enumerate(trials):
        for name, value in zip(trial.periods, trial.rank_ic, strict=True):
            table[row, place[name]] = value
    return periods, table
