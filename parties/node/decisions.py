"""What a node's operators decided on a proposed run or a settlement: one small file per person, below its folder.

Four eyes: with ``approvals_needed = 2`` the node signs once two different people have approved, each under one of the
names in ``approvers``. One rejection refuses the run. A decision is never replaced.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from parties.errors import AgreementError, ConfigError, StorageError
from parties.node.settings import NodeSettings
from parties.private_files import write_new

__all__ = ["Decision", "Verdict", "decide", "decisions", "verdict", "waiting_for"]

_FOLDER = "decisions"
_PERSON = TypeAdapter(Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")])


class Decision(BaseModel):
    """What one person decided. ``why`` is what the other parties read of a rejection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Literal["approve", "reject"]
    by: str
    at: datetime
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What follows from the decisions so far."""

    approved: bool
    by: tuple[str, ...]
    why: str = ""


def decide(
    folder: Path,
    settings: NodeSettings,
    decision: Literal["approve", "reject"],
    *,
    by: str = "",
    why: str = "",
    what: str = "run",
) -> tuple[Decision, Verdict | None]:
    """Record one person's decision on the ``what`` in ``folder``; ``by`` is the system user unless it is named.

    Raises :class:`AgreementError` for somebody who may not decide or has decided, or where it is decided.
    """
    person = by or getpass.getuser()
    try:
        _PERSON.validate_python(person)
    except ValidationError:
        raise ConfigError(f"{person!r} is no name for an approver: letters, digits, . _ and -") from None
    if settings.approvers and person not in settings.approvers:
        raise AgreementError(
            f"{person} is not among this node's approvers ({', '.join(settings.approvers)}): name yourself with --as"
        )
    if verdict(folder, settings) is not None:
        raise AgreementError(f"{what} {folder.name[:12]} was decided on already: nothing was changed")
    made = Decision(decision=decision, by=person, at=datetime.now(UTC), why=why)
    path = folder / _FOLDER / f"{person}.json"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_new(path, made.model_dump_json().encode())
    except FileExistsError:
        told = f"{person} has decided on {what} {folder.name[:12]} already"
        raise AgreementError(f"{told}: nothing was changed") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
    return made, verdict(folder, settings)


def decisions(folder: Path) -> tuple[Decision, ...]:
    """What people decided on the run in ``folder``, earliest first. A file half written is passed over."""
    found = []
    for path in (folder / _FOLDER).glob("*.json"):
        try:
            made = Decision.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        if made.by == path.stem:
            found.append(made)
    return tuple(sorted(found, key=lambda made: made.at))


def verdict(folder: Path, settings: NodeSettings) -> Verdict | None:
    """Whether the run is approved or rejected by now; None while it waits."""
    counted = [made for made in decisions(folder) if not settings.approvers or made.by in settings.approvers]
    for made in counted:
        if made.decision == "reject":
            return Verdict(False, (made.by,), made.why or "the operator rejected it")
    if len(counted) >= settings.approvals_needed:
        return Verdict(True, tuple(made.by for made in counted))
    return None


def waiting_for(folder: Path, settings: NodeSettings) -> int:
    """How many approvals are missing."""
    return max(0, settings.approvals_needed - len(decisions(folder)))
