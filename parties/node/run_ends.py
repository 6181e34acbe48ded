"""How a run ended at this node, kept in the run's folder: what its operators are told after the fact, offline too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from parties.errors import StorageError
from parties.private_files import write_private

__all__ = ["RunEnd", "forget_end", "keep_end", "kept_end", "runs_without_end"]

_FILE = "ended.json"


class RunEnd(BaseModel):
    """``refused``: by this node itself, before anybody was asked; ``reason`` then has the detail that stays at home."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["settled", "aborted", "refused"]
    reason: str = ""
    at: AwareDatetime
    purpose: str = ""


def keep_end(home: Path, run_id: str, end: RunEnd) -> None:
    """Keep it, unless an earlier end is kept: why this node refused says more than that the run is over.

    ``home`` is the node's folder. Raises :class:`StorageError` where the disk refuses.
    """
    if re.fullmatch("[0-9a-f]{64}", run_id) is None or kept_end(home / "runs" / run_id) is not None:
        return
    path = home / "runs" / run_id / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, end.model_dump_json().encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the disk") from None


def kept_end(folder: Path) -> RunEnd | None:
    """How the run in ``folder`` ended; None while it has not, as far as this node was told."""
    try:
        return RunEnd.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def runs_without_end(home: Path) -> list[str]:
    """Runs that the node in ``home`` was asked to sign, and of whose end it was not told: it may have been away."""
    asked = (path.parent for path in home.glob("runs/*/agreement.json"))
    return sorted(folder.name for folder in asked if kept_end(folder) is None)


def forget_end(folder: Path) -> None:
    """The run goes on after all."""
    (folder / _FILE).unlink(missing_ok=True)
