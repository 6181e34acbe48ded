"""Files below a folder that is checked, without what finders, notebooks and editors drop into every folder."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path, PurePath

__all__ = ["files_below", "is_dropping"]

_DROPPINGS = (
    *(".DS_Store", "._*", "__MACOSX", ".Spotlight-V100", ".Trashes", ".fseventsd", "Thumbs.db", "desktop.ini"),
    *(".ipynb_checkpoints", "__pycache__", ".directory", ".nfs*", "*.swp", ".~lock.*#", "~$*"),
)


def is_dropping(path: PurePath) -> bool:
    """Whether a file, or a folder it is in, is a program's own and no part of what a person put there."""
    return any(fnmatch(part, pattern) for part in path.parts for pattern in _DROPPINGS)


def files_below(folder: Path) -> dict[str, bytes]:
    """Content by name relative to the folder, droppings left out. Raises OSError."""
    found = ((path, path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())
    return {name.as_posix(): path.read_bytes() for path, name in found if not is_dropping(name)}
