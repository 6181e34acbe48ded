"""A node's commitments to its own rows as they arrive: salted Merkle roots, logged, told to the coordinator at once.

``commitments/`` in the node's folder holds the leaves of all rows committed so far (``known``, 32 bytes each) and the
batches (``batches.json``). A leaf is salted by a keyed hash of its row: nobody can guess a row, and the node can open
any one of them to an auditor.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import rfc8785
from pydantic import AwareDatetime, ValidationError

from parties.audit.log import AuditLog
from parties.audit.merkle import Tree, leaf_hash
from parties.data.query import read_label_rows
from parties.data.sources import party_sources
from parties.errors import AgreementError, EntenteError, StorageError
from parties.node.context import node_secret
from parties.process.supervision import start_loop
from parties.settlement.committed_rows import RowsCommitted
from parties.settlement.dossier_store import write_durably
from vfl.terms import Terms

if TYPE_CHECKING:
    from parties.node.home import NodeHome

__all__ = ["Batch", "RowsLine", "RowCommitments", "commit_rows", "leaf_of", "row_bytes", "told_times"]

_LOG = logging.getLogger(__name__)
_FOLDER = "commitments"
_STEP_SECONDS = 5.0


class RowsLine(Protocol):
    """What this needs of the line to the coordinator."""

    def rows(self, committed: RowsCommitted) -> None: ...


class Batch(Terms):
    """One commitment. ``told_at``: when the coordinator had taken it, by this node's clock; None before that."""

    root: str
    through: AwareDatetime
    rows: int
    told_at: AwareDatetime | None = None


class _Batches(Terms):
    batches: tuple[Batch, ...] = ()


def row_bytes(source: str, entity: str, period: str, available_at: str, values: list[float | None]) -> bytes:
    """The canonical bytes of one row of a query's result: what an auditor is shown when a leaf is opened."""
    return rfc8785.dumps([source, entity, period, available_at, values])


def leaf_of(row: bytes, key: bytes) -> bytes:
    """The salted leaf of a row. ``key``: 32 secret bytes of the node."""
    return leaf_hash(hmac.digest(key, row, hashlib.sha256) + row)


def _moment(instant: np.datetime64) -> str:
    """UTC to the microsecond, whatever unit the query's engine used."""
    return str(np.datetime_as_string(instant, unit="us"))


def _rows(home: NodeHome, now: datetime) -> Iterator[bytes]:
    """Every row that the node's queries yield now: features, and labels where it has any.

    Of rows made of texts those that are whole ``now``: later ones speak of windows that are not over.
    """
    queries, data = home.folder / home.settings.queries, home.folder / home.settings.data
    moment = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    for source in party_sources(home.settings.party, queries, data):
        seen = source.observed
        for place in np.flatnonzero(~np.array(seen.windowed) | (seen.available_at <= moment)):
            values = [None if math.isnan(value) else float(value) for value in seen.values[place]]
            at, known = _moment(seen.period[place]), _moment(seen.available_at[place])
            yield row_bytes(seen.source, str(seen.entity[place]), at, known, values)
    if home.settings.label is None:
        return
    label = read_label_rows(home.settings.party, home.settings.label, queries, data)
    for number in range(len(label.entity)):
        if not math.isnan(label.label[number]):
            at, known = _moment(label.period[number]), _moment(label.available_at[number])
            yield row_bytes(label.source, str(label.entity[number]), at, known, [float(label.label[number])])


def commit_rows(home: NodeHome, audit: AuditLog, now: datetime) -> Batch:
    """Commit to the rows that are new since the last time, in the audit log first; the batch.

    ``now``: a moment before the queries are read. Raises what the queries raise, and :class:`StorageError`.
    """
    folder, key = home.folder / _FOLDER, node_secret(home.seed, "rows")
    known = _known(folder)
    fresh = [leaf for leaf in dict.fromkeys(leaf_of(row, key) for row in _rows(home, now)) if leaf not in known]
    batch = Batch(root=Tree(fresh).root.hex(), through=now, rows=len(fresh))
    audit.append("rows", "", {"root": batch.root, "through": now.isoformat(), "rows": batch.rows})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _append(folder / "known", b"".join(fresh))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}); check disk and permissions") from None
    _keep(folder, (*_batches(folder), batch))
    return batch


def _append(path: Path, leaves: bytes) -> None:
    """Append them all or none: half a leaf would displace all that come after it."""
    with path.open("ab", buffering=0) as file:
        size, left = os.fstat(file.fileno()).st_size, memoryview(leaves)
        try:
            while left:
                left = left[file.write(left) :]
        except BaseException:
            os.ftruncate(file.fileno(), size)
            raise


def told_times(folder: Path) -> tuple[tuple[datetime, datetime], ...]:
    """(through, told at) of every commitment that the coordinator has, of the node in ``folder``."""
    return tuple((one.through, one.told_at) for one in _batches(folder / _FOLDER) if one.told_at is not None)


def _known(folder: Path) -> set[bytes]:
    try:
        raw = (folder / "known").read_bytes()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StorageError(f"{folder / 'known'}: cannot be read ({error.strerror})") from None
    return {raw[place : place + 32] for place in range(0, len(raw) - 31, 32)}


def _batches(folder: Path) -> tuple[Batch, ...]:
    try:
        return _Batches.model_validate_json((folder / "batches.json").read_bytes()).batches
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError):
        raise StorageError(f"{folder / 'batches.json'}: damaged; restore it from a backup") from None


def _keep(folder: Path, batches: tuple[Batch, ...]) -> None:
    write_durably(folder / "batches.json", _Batches(batches=batches).model_dump_json())


class RowCommitments:
    """The thread of a node that commits as often as it is set to, and tells what it has not told yet."""

    def __init__(self, home: NodeHome, audit: AuditLog, line: RowsLine) -> None:
        self._home, self._audit, self._line = home, audit, line
        self._due = datetime.now(UTC)
        self._stopped = threading.Event()
        self._thread = start_loop(self._step, "row commitments", self._stopped, every=_STEP_SECONDS)

    def close(self) -> None:
        """Stop; what is not told yet is told when the node is back."""
        self._stopped.set()
        self._thread.join(10.0)

    def _step(self) -> None:
        now, minutes = datetime.now(UTC).replace(microsecond=0), self._home.settings.commit_minutes
        try:
            if minutes and now >= self._due:
                self._due = now + timedelta(minutes=minutes)
                batch = commit_rows(self._home, self._audit, now)
                _LOG.info("committed to %d new rows", batch.rows)
            self._tell()
        except EntenteError as error:
            _LOG.warning("rows are not committed: %s", error)

    def _tell(self) -> None:
        folder = self._home.folder / _FOLDER
        for place, batch in enumerate(_batches(folder)):
            if batch.told_at is not None or self._stopped.is_set():
                continue
            try:
                self._line.rows(RowsCommitted(root=batch.root, through=batch.through))
            except AgreementError as error:
                _LOG.error("a commitment was not taken: %s", error)
                return
            told = batch.model_copy(update={"told_at": datetime.now(UTC).replace(microsecond=0)})
            known = _batches(folder)
            _keep(folder, (*known[:place], told, *known[place + 1 :]))
