"""The signatures of all parties under a run's agreement, kept by a node when it has verified them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from parties.errors import StorageError
from parties.fields import Signature
from parties.names import PartyName
from parties.private_files import write_whole

__all__ = ["keep_approvals", "kept_approvals"]

_FILE = "approvals.json"
_Approvals = TypeAdapter(dict[PartyName, Signature])


def keep_approvals(folder: Path, signatures: Mapping[str, str]) -> None:
    """Keep verified signatures, by party, in the run's folder. What is kept already stays."""
    path = folder / _FILE
    if path.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, (json.dumps(dict(sorted(signatures.items())), indent=2) + "\n").encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free the disk") from None


def kept_approvals(folder: Path) -> dict[str, str]:
    """The signatures by party; none where an earlier version kept none, or the run never began.

    Raises :class:`StorageError` for a damaged file.
    """
    path = folder / _FILE
    try:
        return _Approvals.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None
