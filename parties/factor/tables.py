"""Factor folders on disk, opened where every file is as hashed."""

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
from parties.files.folder import files_below, is_dropping
from vfl.factors.bounded_parquet import read_frame
from vfl.factors.bundle_metadata import SCORES
from vfl.factors.findings import Findings
from vfl.factors.market import on_grid
from vfl.factors.verify import MANIFEST, METADATA, verify_bundle

__all__ = [
    "FactorFolder",
    "ScoresFolder",
    "bundle_files",
    "find_folders",
    "open_folder",
    "open_scores",
    "superseding",
]

Floats = NDArray[np.float64]


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
        return files_below(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error.strerror}); check the permissions") from None


def open_folder(folder: Path) -> FactorFolder:
    """Read a bundle. Raises :class:`DataError`, naming the file, where one is not as hashed."""
    files, signers = _sound(folder)
    if SCORES in files:
        raise DataError(
            f"{folder}: holds scores of static data, which have no periods to look at in this way; read its "
            "report.html and scores.csv, or use entente factors show"
        )
    try:
        return FactorFolder(
            folder,
            json.loads(files[METADATA]),
            json.loads(files["validation.json"]),
            read_frame(files["factor.parquet"]),
            read_frame(files["pit.parquet"]),
            signers,
        )
    except (KeyError, ValueError, OSError) as error:
        raise DataError(f"{folder}: not a bundle this version can read ({error}); fetch it again") from None


@dataclass(frozen=True)
class ScoresFolder:
    """A bundle of static data on disk whose files are as hashed: scores by entity, in training and test."""

    path: Path
    metadata: dict[str, Any]
    validation: dict[str, Any]
    signers: tuple[str, ...]

    @property
    def findings(self) -> Findings:
        """What was measured on the test rows."""
        return Findings.read(self.validation["battery"])


def open_scores(folder: Path) -> ScoresFolder | None:
    """A bundle of static data; None where it is of a factor. Raises as :func:`open_folder`."""
    files, signers = _sound(folder)
    if SCORES not in files:
        return None
    try:
        return ScoresFolder(folder, json.loads(files[METADATA]), json.loads(files["validation.json"]), signers)
    except (KeyError, ValueError) as error:
        raise DataError(f"{folder}: not a bundle this version can read ({error}); fetch it again") from None


def _sound(folder: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The files of a bundle and who signed it. Raises :class:`DataError` where one is not as hashed."""
    files = bundle_files(folder)
    report = verify_bundle(files)
    if report.faults and not (len(report.faults) == 1 and "no valid signature" in report.faults[0].fact):
        raise DataError(f"{folder}: {report.faults[0]}; do not use this bundle, fetch it again")
    return files, tuple(signature.signer for signature in report.signatures)


def find_folders(root: Path) -> list[Path]:
    """The bundles below a folder."""
    if not root.is_dir():
        raise ConfigError(f"{root}: no such folder; name one that holds factors")
    return sorted(path.parent for path in root.rglob(MANIFEST) if not is_dropping(path.relative_to(root)))


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
