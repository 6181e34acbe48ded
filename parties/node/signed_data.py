"""What a node's data held when it was looked at before signing: the run begins with the same, or ends there by name.

Kept with the run as digests under a key of this node. Compared is what was over when it was looked at: rows of periods
whose cutoff had passed, and labels that were known by then. Later rows and labels are no change, since every agreement
has them come in. Values are rounded first, for sums of many rows may differ in their last digits from one reading to
the next.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from parties.agreement.document import Agreement
from parties.data.calendar import calendar_of
from parties.errors import DataError, StorageError
from parties.node.own_data import OwnData, read_own_data
from parties.node.settings import NodeSettings
from parties.plurals import things
from parties.private_files import write_whole
from vfl.factors.panel import FeaturePanel, LabelPanel

__all__ = ["SignedData", "check_signed_data", "data_stamp", "keep_signed_data", "kept_signed_data", "signed_data"]

_FILE = "signed_data.json"
_READ = frozenset((".sql", ".csv", ".tsv", ".txt", ".parquet", ".toml"))
_OWN_FOLDERS = frozenset(("runs", "factors", "live", "sealed", "keys"))
_MOST_FILES = 20_000
_DECIMALS = 6


class SignedData(BaseModel):
    """at: when it was looked at. stamp: of the files, "" where they cannot tell whether anything changed.

    periods, labels: digest of the rows, and of the labels, of each period that was over. rows: how many there were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: datetime
    stamp: str
    periods: dict[str, str]
    labels: dict[str, str]
    rows: int


def data_stamp(settings: NodeSettings, folder: Path) -> str:
    """Alike as long as no file was written that this party's queries may read; "" where data come from elsewhere.

    The system's own time of a file's last change is in it, which copying an older file over it does not bring back.
    """
    if settings.party.postgres is not None or settings.party.s3 is not None:
        return ""
    seen = hashlib.sha256()
    files = sorted({*_below(folder / settings.data), *_below(folder / settings.queries, _READ)})
    if len(files) > _MOST_FILES:
        return ""
    for path in files:
        try:
            now = path.stat()
        except OSError:
            return ""
        seen.update(f"{path}\0{now.st_size}\0{now.st_mtime_ns}\0{now.st_ctime_ns}\0{now.st_ino}\n".encode())
    return seen.hexdigest()


def _below(folder: Path, suffixes: frozenset[str] | None = None) -> Iterator[Path]:
    for place, folders, files in os.walk(folder.resolve()):
        if suffixes is not None:
            folders[:] = [name for name in folders if name not in _OWN_FOLDERS]
        # what lies behind a link to a folder has its place here too, and the link may come to lead elsewhere
        yield from (Path(place, name) for name in folders if Path(place, name).is_symlink())
        for name in files:
            if suffixes is None or Path(name).suffix.lower() in suffixes:
                yield Path(place, name)


def signed_data(agreement: Agreement, data: OwnData, stamp: str, at: datetime, key: bytes) -> SignedData:
    """Of what was read at ``at``; ``stamp``: of the files before they were read."""
    names, over = np.array(data.entities, dtype=np.str_), _over(agreement, at)
    panel = data.panel
    return SignedData(
        at=at,
        stamp=stamp,
        periods={} if panel is None else dict(_periods(agreement, panel, names, over, key)),
        labels={} if data.label is None else dict(_labels(agreement, data.label, names, over, key)),
        rows=0 if panel is None else int(panel.covered[:over].sum()),
    )


def _over(agreement: Agreement, at: datetime) -> int:
    """How many periods of the calendar were over; all of data without one."""
    if agreement.static is not None:
        return 1
    cutoffs = calendar_of(agreement.dated).cutoffs
    return int((cutoffs <= np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "ns")).sum())


def _named(agreement: Agreement, count: int) -> Sequence[str]:
    return ("all",) if agreement.static is not None else agreement.periods[:count]


def _periods(
    agreement: Agreement, panel: FeaturePanel, names: NDArray[np.str_], over: int, key: bytes
) -> Iterator[tuple[str, str]]:
    for at, name in enumerate(_named(agreement, over)):
        here = panel.covered[at]
        yield name, _digest(key, names[here], panel.values[at, here])


def _labels(
    agreement: Agreement, label: LabelPanel, names: NDArray[np.str_], over: int, key: bytes
) -> Iterator[tuple[str, str]]:
    """Of each period; "" where not all its labels were known by then, for one more moves the others, standardised."""
    everything = agreement.static is not None
    for at, name in enumerate(_named(agreement, over)):
        here = np.isfinite(label.label[at])
        if here.any():
            whole = everything or bool((label.known_from[at, here] < over).all())
            yield name, _digest(key, names[here], label.label[at, here]) if whole else ""


def _digest(key: bytes, names: NDArray[np.str_], values: NDArray[np.float64]) -> str:
    made = hashlib.blake2b("\n".join(names.tolist()).encode(), key=key, digest_size=12)
    made.update((np.round(values, _DECIMALS) + 0.0).tobytes())
    return made.hexdigest()


def keep_signed_data(run_folder: Path, found: SignedData) -> None:
    """Keep it with the run. Raises :class:`StorageError` where the disk refuses."""
    path = run_folder / _FILE
    try:
        write_whole(path, found.model_dump_json().encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None


def kept_signed_data(run_folder: Path) -> SignedData | None:
    """What was kept before a run was signed; None where nothing was. Raises :class:`StorageError` for a damaged one."""
    path = run_folder / _FILE
    try:
        return SignedData.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup, or have the run proposed again") from None


def check_signed_data(agreement: Agreement, settings: NodeSettings, folder: Path, key: bytes) -> None:
    """Raise :class:`DataError` where this node's data changed since it looked at them to sign; read where files did.

    Raises :class:`StorageError` where what they were then is damaged.
    """
    run_folder = folder / "runs" / agreement.run_id
    before = kept_signed_data(run_folder)
    if before is None:
        return
    stamp = data_stamp(settings, folder)
    if stamp and stamp == before.stamp:
        return
    now = signed_data(agreement, read_own_data(agreement, settings, folder), stamp, before.at, key)
    found = tuple(_changes(before, now))
    if found:
        labelled = "" if settings.label is None else settings.label.query
        asked = " and ".join(filter(None, (settings.party.asked, labelled)))
        raise DataError(
            f"{asked}: this node's data changed after {before.at:%Y-%m-%d %H:%M} UTC, when it looked at them to sign: "
            f"{'; '.join(found)}. Restore what was signed over, or have the run proposed again, which looks anew"
        )
    keep_signed_data(run_folder, before.model_copy(update={"stamp": stamp}))


def _changes(before: SignedData, now: SignedData) -> Iterator[str]:
    """What is not as it was, a phrase each."""
    periods = [name for name, digest in before.periods.items() if now.periods.get(name) != digest]
    if periods:
        rows = f" ({before.rows:,} rows, now {now.rows:,})" if before.rows != now.rows else ""
        said = f"rows of {things(len(periods), 'periods')}, the first {periods[0]}"
        yield said.replace("rows of 1 period, the first all", "rows") + rows
    labels = [name for name, digest in before.labels.items() if digest and now.labels.get(name) not in ("", digest)]
    if labels:
        said = f"labels of {things(len(labels), 'periods')}, the first {labels[0]}"
        yield said.replace("labels of 1 period, the first all", "labels")
