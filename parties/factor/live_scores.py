"""Live records of a factor: scores of periods after its run, each session's in a signed folder, never written again.

They lie in ``live/FACTOR/VERSION.PERIOD`` beside ``factors/FACTOR/VERSION``: ``factor.parquet`` and ``pit.parquet`` as
a bundle has them, ``metadata.json``, ``SHA256SUMS`` and its signature. ``live/FACTOR/VERSION.json`` says how far it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from parties.agreement.daily_terms import scored_periods
from parties.agreement.document import Agreement
from parties.errors import AgreementError, DataError, StorageError
from parties.factor.delivery import described, read_bundle, store_bundle
from parties.factor.naming import factor_id
from parties.private_files import write_whole
from vfl.factors.bounded_parquet import read_frame
from vfl.factors.verify import verify_bundle
from vfl.terms import Terms

__all__ = [
    "LiveStatus",
    "live_folder",
    "live_of",
    "live_scores",
    "live_status",
    "live_version",
    "say_ended",
    "store_live",
]

_LIVE = "live"


class LiveStatus(Terms):
    """How far a factor's live records are. ended: why no more follow, "" while they may."""

    run_id: str
    scored: tuple[str, ...] = ()
    agreed: int
    expires: date
    ended: str = ""


@dataclass(frozen=True)
class _Place:
    """Where the live records of a trained run's factor lie."""

    home: Path
    factor: str
    version: str

    @property
    def status(self) -> Path:
        return self.home / _LIVE / self.factor / f"{self.version}.json"


def _place(home: Path, agreement: Agreement) -> _Place:
    run_id = agreement.run_id if agreement.scores is None else agreement.scores.of
    return _Place(home, factor_id(agreement.consortium, agreement.label.name), run_id[:12])


def live_version(agreement: Agreement) -> str:
    """What a scoring session's records are called."""
    assert agreement.scores is not None
    return f"{agreement.scores.of[:12]}.{re.sub('[^A-Za-z0-9._-]', '-', agreement.scores.first)}"


def live_folder(home: Path, agreement: Agreement) -> Path:
    """Where the records of a scoring session lie at the node in ``home``."""
    return home / _LIVE / factor_id(agreement.consortium, agreement.label.name) / live_version(agreement)


def store_live(home: Path, agreement: Agreement, files: Mapping[str, bytes]) -> Path:
    """Verify a session's files and keep them; others under the same name are refused, so no record is ever rewritten.

    Raises :class:`DataError` for files that are not this session's, signed by its label party.
    """
    label = agreement.party(agreement.label.party)
    try:
        verify_bundle(files, trusted={label.name: bytes.fromhex(label.identity_key)}).require()
        told = described(files)
        status = LiveStatus(
            run_id=told["of"], scored=tuple(told["periods"]), agreed=told["agreed"], expires=told["expires"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the scores that {label.name} sent cannot be used: {error}") from None
    assert agreement.scores is not None
    if (told["run_id"], told["version"], status.scored) != (
        agreement.run_id, live_version(agreement), scored_periods(agreement)
    ) or status.run_id != agreement.scores.of:  # fmt: skip
        raise AgreementError(f"{label.name} sent scores of another session than this one")
    folder = store_bundle(home / _LIVE, files)
    place = _place(home, agreement)
    known = _read(place.status)
    before = () if known is None else known.scored
    _write(place.status, status.model_copy(update={"scored": tuple(dict.fromkeys((*before, *status.scored)))}))
    return folder


def say_ended(home: Path, trained: Agreement, why: str) -> None:
    """The factor's live records end here, and this is why: everybody who reads the factor is told."""
    daily, path = trained.daily, _place(home, trained).status
    assert daily is not None
    known = _read(path) or LiveStatus(run_id=trained.run_id, agreed=daily.scores, expires=daily.expires)
    if not known.ended:
        _write(path, known.model_copy(update={"ended": why}))


def live_of(folder: Path) -> tuple[Path, ...]:
    """The folders of live records of the bundle in ``folder``, oldest first."""
    beside = (
        folder.resolve().parents[2] / _LIVE / folder.resolve().parent.name
        if len(folder.resolve().parents) > 2
        else folder
    )
    return tuple(sorted(path for path in beside.glob(f"{folder.name}.*") if path.is_dir() and path.suffix != ".part"))


def live_scores(folder: Path) -> pd.DataFrame:
    """Scores and point-in-time facts of every live record of the bundle in ``folder``, by (datetime, instrument).

    Raises :class:`DataError` for a record that is not as it was signed.
    """
    found = []
    for path in live_of(folder):
        files = read_bundle(path)
        report = verify_bundle(files)
        if not report.ok:
            raise DataError(f"{path}: {report.faults[0] if report.faults else 'is not signed'}; do not use this record")
        found.append(read_frame(files["factor.parquet"]).join(read_frame(files["pit.parquet"])))
    return pd.concat(found).sort_index() if found else pd.DataFrame({"score": []})


def live_status(folder: Path) -> LiveStatus | None:
    """How far the live records of the bundle in ``folder`` are; None where there are none."""
    parents = folder.resolve().parents
    if len(parents) < 3:
        return None
    return _read(_Place(parents[2], folder.resolve().parent.name, folder.name).status)


def _read(path: Path) -> LiveStatus | None:
    try:
        return LiveStatus.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise StorageError(f"{path}: cannot be read ({str(error).splitlines()[0]}); restore it from a backup") from None


def _write(path: Path, status: LiveStatus) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(status.model_dump(mode="json"), indent=2).encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None
