"""The file of an evidence pack: a zip archive of one form, signed as a factor bundle is.

Nothing in it is compressed, and its parts have one order, one date and no comments. So the file is a function of its
parts: whoever reads it packs them again and compares, and no byte lies outside of what the signature covers.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from parties.errors import DataError
from parties.fields import Count, RunId, StrictTerms, Text
from vfl.factors.verify import MANIFEST, METADATA, SIGNATURES

__all__ = [
    "AGREEMENT",
    "APPROVALS",
    "CONTRIBUTION",
    "COORDINATOR_KEY",
    "FACTOR",
    "FACTOR_PARTS",
    "HEADS",
    "LABELS",
    "LEDGER",
    "LEDGER_HEAD",
    "LOG",
    "REPLAY",
    "REPORT",
    "REPORTS",
    "SETTLEMENTS",
    "About",
    "LeftOut",
    "is_part",
    "packed",
    "unpacked",
]

AGREEMENT = "agreement.json"
APPROVALS = "approvals.json"
COORDINATOR_KEY = "coordinator.json"
LOG = "log.jsonl"
HEADS = "heads.jsonl"
REPORTS = "reports.jsonl"
LABELS = "labels.json"
CONTRIBUTION = "contribution.json"
REPLAY = "replay.json"
FACTOR = "factor/"
LEDGER = "ledger.jsonl"
LEDGER_HEAD = "ledger-head.json"
SETTLEMENTS = "settlements/"
REPORT = "report.html"
FACTOR_PARTS = (MANIFEST, METADATA, "validation.json", "trials.parquet", "report.html")
"""What of a factor bundle a pack may hold, beside its signatures: no score of any row."""

_FILES = frozenset(
    (METADATA, MANIFEST, AGREEMENT, APPROVALS, COORDINATOR_KEY, LOG, HEADS, REPORTS, LABELS, CONTRIBUTION, REPLAY)
) | {LEDGER, LEDGER_HEAD, REPORT}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LARGEST, _MOST_FILES = 512 << 20, 2000


class LeftOut(StrictTerms):
    """A part that this pack does not hold, and why."""

    what: Text
    why: Text


class About(StrictTerms):
    """``metadata.json``: whose pack it is, of which run, and what made it.

    made_at: UTC text, the writer's word. libraries: versions by name. files: size and lines of every part.
    """

    kind: Literal["evidence pack"] = "evidence pack"
    schema_version: Literal[1] = 1
    run_id: RunId
    writer: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    made_at: Annotated[str, StringConstraints(max_length=40)]
    code_version: Text
    git_sha: Text = ""
    lockfile_sha256: Text = ""
    libraries: dict[str, Text] = Field(default_factory=dict, max_length=64)
    left_out: tuple[LeftOut, ...] = Field(default=(), max_length=64)
    files: dict[str, dict[str, Count]] = Field(default_factory=dict, max_length=_MOST_FILES)


def is_part(name: str) -> bool:
    """Whether a pack may hold a file of this name: all that may be in one is checked."""
    if name in _FILES:
        return True
    if name.startswith(SIGNATURES):
        return name.count("/") == 1
    if name.startswith(SETTLEMENTS):
        return name.count("/") == 1 and name.endswith(".json")
    inner = name.removeprefix(FACTOR)
    return name != inner and (inner in FACTOR_PARTS or (inner.startswith(SIGNATURES) and inner.count("/") == 1))


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as the one archive that holds them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content, zipfile.ZIP_STORED)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The parts of a pack. Raises :class:`DataError`, naming the part where it can, for anything :func:`packed` did
    not make."""
    if len(data) > _LARGEST:
        raise DataError(f"is larger than {_LARGEST >> 20} MiB, and no evidence pack is")
    name, files = "", {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
            if len(listed) > _MOST_FILES or any(one.compress_type != zipfile.ZIP_STORED for one in listed):
                raise DataError("is no evidence pack: make one with entente evidence RUN")
            for entry in listed:
                name = entry.filename
                files[name] = archive.read(entry)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError, OverflowError):
        if not name:
            raise DataError("is no evidence pack: make one with entente evidence RUN") from None
        raise DataError(f"{_shown(name)} was changed or is damaged: ask for the pack again") from None
    strange = next((name for name in files if not is_part(name)), None)
    if strange is not None:
        raise DataError(f"holds {_shown(strange)}, which is no part of an evidence pack")
    if packed(files) != data:
        raise DataError("has bytes beside its parts that are not as they were written: ask for the pack again")
    return files


def _shown(name: str) -> str:
    return ascii(name[:100]).strip("'")
