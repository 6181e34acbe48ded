"""Private files: state, logs and settings that only their owner can read, whatever the umask of who starts us."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "FREE_SPACE",
    "make_private",
    "open_private",
    "own_files_only",
    "whole_or_nothing",
    "write_new",
    "write_private",
    "write_whole",
]

FREE_SPACE = "free space, then repeat the command"
"""The remedy for a full disk; whoever says it leaves nothing half made."""
_MODE = 0o600


def own_files_only() -> None:
    """From now on every file and folder this process makes is its owner's alone, those that libraries make too."""
    os.umask(0o077)


def open_private(path: str, flags: int) -> int:
    """An opener for :func:`open`: a file that is made is 0600, one that was there is made so."""
    descriptor = os.open(path, flags, _MODE)
    if flags & (os.O_WRONLY | os.O_RDWR) and os.fstat(descriptor).st_mode & 0o077:
        os.fchmod(descriptor, _MODE)
    return descriptor


def write_private(path: Path, content: bytes) -> None:
    """Write the file, 0600."""
    with open(path, "wb", opener=open_private) as file:
        file.write(content)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, 0600, durably. Where that fails there is none; FileExistsError if it is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        _durably(descriptor, content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write the file or replace it, 0600, durably. Where that fails, what was there before is there still."""
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.unlink(missing_ok=True)
        write_new(partial, content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _durably(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def whole_or_nothing(folder: Path) -> Iterator[None]:
    """Where the body fails, what it made in the folder is taken away again: a second try finds nothing half made.

    What was there before stays; what was changed in it stays changed.
    """
    before = set(os.listdir(folder)) if folder.is_dir() else None
    try:
        yield
    except BaseException:
        if before is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for name in set(os.listdir(folder)) - before:
                place = folder / name
                if place.is_dir() and not place.is_symlink():
                    shutil.rmtree(place, ignore_errors=True)
                else:
                    place.unlink(missing_ok=True)
        raise


def make_private(database: str | None) -> None:
    """Make a SQLite file before SQLite does, for its owner alone: what lies beside it (-wal, -shm) gets its mode.

    The file is never opened here under its own name: closing it would drop the locks that this process holds on it by
    another connection, and two writers would meet. What cannot be changed, such as an auditor's copy, stays as it is.
    """
    if not database or database == ":memory:" or database.startswith("file:"):
        return
    path = Path(database)
    with contextlib.suppress(OSError):
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(_MODE)
            return
        descriptor, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
        try:
            os.link(made, path)  # like a creation that fails where somebody was first
        finally:
            os.unlink(made)
