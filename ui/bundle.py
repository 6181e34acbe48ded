"""A downloaded factor bundle: does every file have the fingerprint it should have?"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass

from parties.client import FactorView

__all__ = ["SUMS", "ArchiveCheck", "check_archive"]

SUMS = "SHA256SUMS"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveCheck:
    """How many files have the fingerprints that SHA256SUMS and the coordinator state, and what does not fit."""

    files: int
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.faults


def check_archive(archive: bytes, factor: FactorView) -> ArchiveCheck:
    """Hash each file of a bundle's zip archive and compare with its own SHA256SUMS and with the coordinator's list.

    A factor's own fingerprint is that of its SHA256SUMS.
    Files may lie in one common folder, as they do in ``<factor_id>/<version>/``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
            found = {info.filename: _sha256(bundle, info) for info in bundle.infolist() if not info.is_dir()}
            listing = next((name for name in sorted(found, key=len) if name.rpartition("/")[2] == SUMS), None)
            if listing is None:
                return ArchiveCheck(0, (f"the archive has no {SUMS}",))
            stated = _parse(bundle.read(listing).decode("utf-8", errors="replace"))
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return ArchiveCheck(0, ("the archive is damaged: download it again",))
    folder = listing.removesuffix(SUMS)
    strange = factor.sha256 and found[listing] != factor.sha256
    actual = {name.removeprefix(folder): digest for name, digest in found.items()}
    faults = [f"{SUMS} is not the one the coordinator was sent"] if strange else []
    faults += [f"{name} is missing" for name in stated if name not in actual]
    faults += [f"{name} differs from {SUMS}" for name, digest in stated.items() if actual.get(name, digest) != digest]
    unlisted = sorted(set(actual) - set(stated) - {SUMS})
    faults += [f"{name} is not in {SUMS}" for name in unlisted if not name.startswith("signatures/")]
    told = {view.path.removeprefix(folder): view.sha256 for view in factor.files if view.sha256}
    strangers = [name for name, digest in told.items() if actual.get(name) != digest]
    faults += [f"{name} is not what the coordinator lists" for name in strangers]
    return ArchiveCheck(len(stated), tuple(faults))


def _sha256(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with bundle.open(info) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _parse(text: str) -> dict[str, str]:
    """The lines of a SHA256SUMS file: digest, two spaces (or a space and a star), path."""
    stated = {}
    for line in text.splitlines():
        digest, _, path = line.strip().partition(" ")
        if path:
            stated[path.strip().lstrip("*")] = digest.lower()
    return stated
