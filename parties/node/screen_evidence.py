"""What each end of a screen keeps for an auditor, and the files that an auditor is given.

The label party keeps the sums that opened, beside what opens its commitment to its labels and terminals. Each feature
party keeps its terminals as the screen numbers them, of which its audit log has a salted digest before any leaves.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from parties.agreement.document import Agreement
from parties.audit.committed_labels import COMMITMENT
from parties.audit.heads import Inclusion
from parties.audit.log import AuditLog
from parties.errors import DataError, StorageError
from parties.node.context import RunContext
from parties.node.label_commitment import DISCLOSURE
from parties.private_files import write_private
from vfl.models.screen.label import Screened
from vfl.protocols.committed_values import arrays_digest

__all__ = [
    "TERMINALS",
    "ScreenLabelEvidence",
    "ScreenPartyEvidence",
    "keep_sums",
    "keep_terminals",
    "label_screen_evidence",
    "party_screen_evidence",
    "terminals_digest",
]

Arrays = dict[str, NDArray[Any]]
I64 = NDArray[np.int64]

TERMINALS = "terminals"
"""Kind of a feature party's entry on its terminals: how many, and a salted digest."""

_SUMS, _RANKS = "screen-sums.npz", "screen-terminals.npz"
_LARGEST = 8 * 2**30
_T = TypeVar("_T")
_ENTRIES = TypeAdapter(tuple[Inclusion, ...])


def terminals_digest(salt: bytes, ranks: NDArray[np.int8]) -> str:
    """Of terminals (T, n, m) as a screen numbers them, hex."""
    return arrays_digest(salt, {"ranks": ranks}).hex()


def keep_terminals(context: RunContext, ranks: I64) -> None:
    """At a feature party, before anything of them leaves: keep them in the run folder, and their digest in the log."""
    small, salt = ranks.astype(np.int8), context.secret(f"screen-terminals/{context.run_id}")
    digest = terminals_digest(salt, small)
    body = {"terminals": ranks.shape[2], "sha256": digest}
    if not any(one.kind == TERMINALS and one.body == body for one in context.audit.entries(context.run_id)):
        context.audit.append(TERMINALS, context.run_id, body)
    _write(context.run_folder / _RANKS, {"ranks": small, "salt": np.frombuffer(salt, np.uint8)})


def keep_sums(context: RunContext, found: Screened) -> None:
    """At the label party: keep all that opened in the run folder."""
    _write(context.run_folder / _SUMS, _arrays(found))


def _arrays(found: Screened) -> Arrays:
    made: Arrays = {f"alone/{name}": sums for name, sums in found.alone.items()}
    made |= {f"own/{name}": sums for name, sums in found.own.items()}
    return made | {f"pairs/{name}/{other}": sums for (name, other), sums in found.pairs.items()}


def _screened(arrays: Mapping[str, NDArray[Any]]) -> Screened:
    found = Screened()
    for name, sums in arrays.items():
        kind, *parties = name.split("/")
        values = np.asarray(sums, dtype=np.float64)
        if kind == "pairs" and len(parties) == 2:
            found.pairs[parties[0], parties[1]] = values
        elif kind in ("alone", "own") and len(parties) == 1:
            (found.alone if kind == "alone" else found.own)[parties[0]] = values
        else:
            raise ValueError(name)
    return found


@dataclass(frozen=True)
class ScreenLabelEvidence:
    """What the label party shows. inputs: what opens its commitment. report: its report's JSON."""

    agreement: Agreement
    inputs: Arrays
    sums: Screened
    report: dict[str, Any]

    def packed(self) -> bytes:
        """As a file: an npz archive without pickles."""
        arrays = {f"inputs/{name}": one for name, one in self.inputs.items()}
        arrays |= {f"sums/{name}": one for name, one in _arrays(self.sums).items()}
        arrays["agreement"] = np.frombuffer(self.agreement.model_dump_json().encode(), np.uint8)
        arrays["report"] = np.frombuffer(json.dumps(self.report).encode(), np.uint8)
        return _packed(arrays)

    @classmethod
    def read(cls, path: Path) -> ScreenLabelEvidence:
        """The file. Raises :class:`DataError` for anything else."""

        def parsed(arrays: Arrays) -> ScreenLabelEvidence:
            groups: dict[str, Arrays] = {"inputs": {}, "sums": {}}
            for name in [name for name in arrays if "/" in name]:
                group, _, own = name.partition("/")
                groups[group][own] = arrays[name]
            agreement = Agreement.model_validate_json(arrays["agreement"].tobytes())
            report = json.loads(arrays["report"].tobytes())
            if not isinstance(report, dict):
                raise ValueError
            return cls(agreement, groups["inputs"], _screened(groups["sums"]), report)

        return _parsed(path, "the label party of a screen", parsed)


@dataclass(frozen=True)
class ScreenPartyEvidence:
    """What a feature party shows: its terminals as the screen numbered them, and its log's entries with proofs.

    source: the file that it was read from, "" where it was made here.
    """

    run_id: str
    party: str
    ranks: I64
    salt: bytes
    entries: tuple[Inclusion, ...]
    source: str = ""

    def packed(self) -> bytes:
        """As a file: an npz archive without pickles."""
        said = {"run_id": self.run_id, "party": self.party}
        return _packed(
            {
                "said": np.frombuffer(json.dumps(said).encode(), np.uint8),
                "ranks": self.ranks.astype(np.int8),
                "salt": np.frombuffer(self.salt, np.uint8),
                "entries": np.frombuffer(_ENTRIES.dump_json(self.entries), np.uint8),
            }
        )

    @classmethod
    def read(cls, path: Path) -> ScreenPartyEvidence:
        """The file. Raises :class:`DataError` for anything else."""

        def parsed(arrays: Arrays) -> ScreenPartyEvidence:
            said, ranks = json.loads(arrays["said"].tobytes()), arrays["ranks"]
            if ranks.ndim != 3 or ranks.dtype != np.int8:
                raise ValueError
            entries = _ENTRIES.validate_json(arrays["entries"].tobytes())
            salt = arrays["salt"].tobytes()
            ranks64 = ranks.astype(np.int64)
            return cls(str(said["run_id"]), str(said["party"]), ranks64, salt, entries, str(path))

        return _parsed(path, "a feature party of a screen", parsed)


def label_screen_evidence(home: Path, agreement: Agreement, report: Path) -> ScreenLabelEvidence:
    """What the label party's node in ``home`` keeps of a screen. report: the file of its report.

    Raises :class:`StorageError` where it keeps none, or it is damaged.
    """
    place = home / "runs" / agreement.run_id
    if not (place / _SUMS).is_file():
        raise StorageError(f"{place}: keeps no sums of a screen: it has not come to its end, or by an earlier version")
    sums, inputs = _stored(place / _SUMS), _stored(place / DISCLOSURE)
    try:
        return ScreenLabelEvidence(agreement, inputs, _screened(sums), json.loads(report.read_bytes()))
    except (OSError, ValueError):
        raise StorageError(f"{report}: damaged; restore it from a backup") from None


def party_screen_evidence(home: Path, log: AuditLog, run_id: str) -> ScreenPartyEvidence:
    """What a feature party's node in ``home`` keeps and logged of a screen.

    Raises :class:`StorageError` where it keeps none, or it is damaged.
    """
    path = home / "runs" / run_id / _RANKS
    if not path.is_file():
        raise StorageError(f"{path.parent}: keeps no terminals of a screen: it has none, or by an earlier version")
    kept = _stored(path)
    wanted = [entry.index for entry in log.entries(run_id) if entry.kind in (COMMITMENT, TERMINALS)]
    try:
        ranks, salt = kept["ranks"].astype(np.int64), kept["salt"].tobytes()
    except KeyError:
        raise StorageError(f"{path}: damaged; restore it from a backup") from None
    return ScreenPartyEvidence(run_id, log.name, ranks, salt, tuple(log.prove(index) for index in wanted))


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _parsed(path: Path, whose: str, parsed: Callable[[Arrays], _T]) -> _T:
    wrong = DataError(f"{path}: is no evidence of {whose}; make it with entente audit evidence")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > _LARGEST:
                raise wrong
        with np.load(path, allow_pickle=False) as found:
            return parsed({name: found[name] for name in found.files})
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, ValidationError, RecursionError):
        raise wrong from None


def _stored(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    partial = path.with_suffix(".part")
    try:
        write_private(partial, _packed(arrays))
        partial.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free the disk") from None
