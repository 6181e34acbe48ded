"""Factor folders and the tables a fund puts beside them, read with errors that name file, column and remedy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.errors import ConfigError, DataError, StorageError
from vfl.factors.bounded_parquet import read_frame
from vfl.factors.findings import Findings
from vfl.factors.market import MarketData, market_data, on_grid
from vfl.factors.verify import MANIFEST, METADATA, verify_bundle

__all__ = [
    "FactorFolder",
    "bundle_files",
    "find_folders",
    "open_folder",
    "read_market",
    "read_table",
    "read_values",
    "superseding",
]

Floats = NDArray[np.float64]

_KEYS = ["datetime", "instrument"]


@dataclass(frozen=True)
class FactorFolder:
    """A bundle on disk whose files are as hashed. factor, pit: by (datetime, instrument)."""

    path: Path
    metadata: dict[str, Any]
    validation: dict[str, Any]
    factor: pd.DataFrame
    pit: pd.DataFrame
    signers: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.metadata['factor_id']} {self.metadata['version']}"

    @property
    def dates(self) -> pd.DatetimeIndex:
        """Decision sessions, rising."""
        return pd.DatetimeIndex(self.factor.index.get_level_values("datetime").unique()).sort_values()

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(sorted(self.factor.index.get_level_values("instrument").unique()))

    @property
    def scores(self) -> Floats:
        """Scores float64 (T, n) over ``dates`` and ``instruments``."""
        return self.grid(self.factor["score"])

    @property
    def horizon(self) -> int:
        """Of the label in periods, 1 or more."""
        return max(int(self.metadata["horizon"]), 1)

    @property
    def findings(self) -> Findings | None:
        """What the battery found in the run; None in a bundle that has none."""
        record = self.validation.get("battery")
        return None if record is None else Findings.read(record)

    def grid(self, values: pd.Series) -> Floats:
        """Values by (datetime, instrument) on the factor's grid."""
        return on_grid(values, self.dates, self.instruments)


def bundle_files(folder: Path) -> dict[str, bytes]:
    """Every file of a bundle by its name in it."""
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder}: not a factor bundle; name the folder that holds {MANIFEST}")
    try:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error.strerror}); check the permissions") from None


def open_folder(folder: Path) -> FactorFolder:
    """Read a bundle. Raises :class:`DataError`, naming the file, where one is not as hashed."""
    files = bundle_files(folder)
    report = verify_bundle(files)
    if report.faults and not (len(report.faults) == 1 and "no valid signature" in report.faults[0].fact):
        raise DataError(f"{folder}: {report.faults[0]}; do not use this bundle, fetch it again")
    try:
        return FactorFolder(
            folder,
            json.loads(files[METADATA]),
            json.loads(files["validation.json"]),
            read_frame(files["factor.parquet"]),
            read_frame(files["pit.parquet"]),
            tuple(signature.signer for signature in report.signatures),
        )
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{folder}: not a bundle this version can read ({error}); fetch it again") from None


def find_folders(root: Path) -> list[Path]:
    """The bundles below a folder."""
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder; name one that holds factors")
    return sorted(path.parent for path in root.rglob(MANIFEST))


def superseding(folder: Path) -> str:
    """The version beside ``folder`` whose metadata says that it supersedes this one; "" where none does.

    For what is shown: a bundle's own hashes are checked where it is opened.
    """
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest() if (folder / MANIFEST).is_file() else ""
    for path in sorted(folder.parent.glob(f"*/{METADATA}")):
        try:
            said = json.loads(path.read_bytes()).get("supersedes") or {}
        except (OSError, ValueError, AttributeError):
            continue
        if digest and said.get("sha256") == digest:
            return path.parent.name
    return ""


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet table by (datetime, instrument); ids stay text, times lose their zone. Raises DataError."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        if path.suffix in {".parquet", ".pq"}:
            frame = read_frame(path.read_bytes())
        else:
            frame = pd.read_csv(path, dtype={"instrument": str}, keep_default_na=False, na_values={})
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as CSV or Parquet ({error}); check the file") from None
    frame = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    missing = [name for name in _KEYS if name not in frame.columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; a table needs datetime, instrument and values")
    try:
        times = pd.DatetimeIndex(pd.to_datetime(frame["datetime"]))
    except ValueError as error:
        raise DataError(f"{path}: column datetime holds what is no date ({error}); write YYYY-MM-DD") from None
    days = (times.tz_convert(None) if times.tz is not None else times).normalize()
    index = pd.MultiIndex.from_arrays([days, frame["instrument"].astype(str)], names=_KEYS)
    twice = index.duplicated()
    if twice.any():
        when, name = index[int(np.argmax(twice))]
        raise DataError(f"{path}: {name} has two rows on {when:%Y-%m-%d}; keep one")
    return frame.drop(columns=_KEYS).set_axis(index)


def read_values(path: Path, column: str) -> pd.Series:
    """One numeric column of a table: ``column``, or the only one there is. Raises DataError."""
    frame = read_table(path)
    names = list(frame.columns)
    if column not in names:
        if len(names) != 1:
            raise DataError(f"{path}: no column {column!r} among {', '.join(map(str, names)) or 'none'}; name it so")
        column = names[0]
    values = pd.to_numeric(frame[column].replace("", np.nan), errors="coerce")
    wrong = values.isna() & ~frame[column].isin(["", "nan", "NaN"]) & frame[column].notna()
    if wrong.any():
        when, name = values.index[int(np.argmax(wrong))]
        raise DataError(
            f"{path}: column {column}, {name} on {when:%Y-%m-%d}: {frame[column][wrong].iloc[0]!r} is no number"
        )
    if np.isinf(values).any():
        raise DataError(f"{path}: column {column} holds an infinite value; leave it empty where there is none")
    return values.astype(np.float64)


def read_market(path: Path, folder: FactorFolder) -> MarketData:
    """Prices, sectors and the like on the factor's grid. Raises DataError."""
    frame = read_table(path)
    numeric = [c for c in frame.columns if c != "sector"]
    try:
        frame[numeric] = frame[numeric].replace("", np.nan).astype(np.float64)
        if "sector" in frame.columns:
            frame["sector"] = frame["sector"].where(frame["sector"] != "", None)
        return market_data(frame, folder.dates, folder.instruments)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
