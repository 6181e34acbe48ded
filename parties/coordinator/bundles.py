"""Factor bundles the coordinator was sent, on its disk: ``factors/RUN_ID/`` with the files as they arrived."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parties.calls.views import FileView
from parties.errors import ConfigError, StorageError
from parties.private_files import write_private
from vfl.factors.verify import MANIFEST, METADATA, verify_bundle

__all__ = ["BundleStore"]

LARGEST_FILE = 1 << 30
MOST_FILES = 1000
_EPOCH = (1980, 1, 1, 0, 0, 0)


class BundleStore:
    """Keeps verified bundles, one folder per run. Names and contents came from a peer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, run_id: str, files: Mapping[str, bytes], signer: str, key: bytes) -> str:
        """Verify and keep a bundle; returns the SHA-256 of its manifest, hex.

        ``key`` is the raw Ed25519 key that ``signer`` must have signed with. Raises :class:`StorageError`
        when a name cannot be a file here, a hash or the signature does not fit, or the disk refuses.
        """
        for name in files:
            parts = name.split("/")
            if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
                raise StorageError(
                    f"the bundle of run {run_id[:12]} has an unusable file name: ask {signer} to send it again"
                )
        if len(files) > MOST_FILES:
            raise StorageError(f"the bundle of run {run_id[:12]} has more than {MOST_FILES} files: ask {signer} why")
        report = verify_bundle(files, trusted={signer: key})
        if not report.authentic:
            fault = report.faults[0] if report.faults else f"{signer} has not signed it"
            raise StorageError(
                f"the bundle of run {run_id[:12]} is not as signed ({fault}): ask {signer} to send it again"
            )
        target, partial = self._folder / run_id, self._folder / f"{run_id}.part"
        if (target / MANIFEST).is_file() and (target / MANIFEST).read_bytes() != files[MANIFEST]:
            raise StorageError(
                f"{target}: holds another bundle of this run, and no version is overwritten: ask {signer} to issue it "
                "as a new version"
            )
        try:
            shutil.rmtree(partial, ignore_errors=True)
            for name, content in files.items():
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_private(path, content)
                _sync(path)
            if target.exists():
                shutil.rmtree(target)
            partial.rename(target)
        except OSError as error:
            raise StorageError(f"{target}: {error.strerror}; free space or mend the permissions") from None
        return hashlib.sha256(files[MANIFEST]).hexdigest()

    def folder(self, run_id: str) -> Path:
        """Where the bundle of a run lies, whether it is there or not."""
        return self._folder / run_id

    def has(self, run_id: str) -> bool:
        return (self._folder / run_id).is_dir()

    def files(self, run_id: str) -> tuple[FileView, ...]:
        """The bundle's files with sizes, and hashes where the manifest has them."""
        root = self._folder / run_id
        sums: dict[str, str] = {}
        if (root / MANIFEST).is_file():
            lines = (root / MANIFEST).read_text(encoding="ascii", errors="replace").splitlines()
            sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        return tuple(
            FileView(path=name, bytes=path.stat().st_size, sha256=sums.get(name, ""))
            for name, path in self._paths(run_id)
        )

    def metadata(self, run_id: str) -> dict[str, Any]:
        """``metadata.json``, or nothing where it cannot be read."""
        return self._record(run_id, METADATA)

    def validation(self, run_id: str) -> dict[str, Any]:
        """``validation.json``, or nothing where it cannot be read."""
        return self._record(run_id, "validation.json")

    def _record(self, run_id: str, name: str) -> dict[str, Any]:
        try:
            record = json.loads((self._folder / run_id / name).read_bytes())
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def contents(self, run_id: str) -> dict[str, bytes]:
        """Every file by its name, as it lies there. Raises :class:`StorageError` where the disk refuses."""
        try:
            return {name: path.read_bytes() for name, path in self._paths(run_id)}
        except OSError as error:
            raise StorageError(f"{error.filename}: {error.strerror}; mend the permissions") from None

    def digest(self, run_id: str) -> str:
        """SHA-256 of the manifest as it lies there, hex; of nothing where it is missing."""
        path = self._folder / run_id / MANIFEST
        return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()

    def archive(self, run_id: str) -> bytes:
        """The bundle as a zip archive, the same bytes every time."""
        if not self.has(run_id):
            raise ConfigError(
                f"the factor of run {run_id[:12]} is not kept here: ask a recipient, or name the coordinator as one"
            )
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in self._paths(run_id):
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    def _paths(self, run_id: str) -> list[tuple[str, Path]]:
        root = self._folder / run_id
        found = (path for path in root.rglob("*") if path.is_file())
        return sorted((path.relative_to(root).as_posix(), path) for path in found)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
