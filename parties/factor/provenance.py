"""Which code made a factor: the revision of the checkout and the hash of its lock file, where there is one."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["git_revision", "lockfile_sha256"]

_ROOT = Path(__file__).resolve().parents[2]


def git_revision(root: Path = _ROOT) -> str:
    """The commit that is checked out, or "" outside a checkout."""
    git = root / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")


def lockfile_sha256(root: Path = _ROOT) -> str:
    """SHA-256 of ``constraints.txt``, hex, or "" where it is not beside the code."""
    try:
        return hashlib.sha256((root / "constraints.txt").read_bytes()).hexdigest()
    except OSError:
        return ""
