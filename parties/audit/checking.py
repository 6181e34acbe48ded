"""Verifying a log as it lies in its database: one way for the command line and for the coordinator's desk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parties.audit.heads import Head
from parties.audit.log import AuditLog, Findings
from parties.errors import StorageError

__all__ = ["LogCheck", "check_log"]


@dataclass(frozen=True)
class LogCheck:
    """What verification found. ``findings``: None where the log could not even be opened; ``faults`` then say why."""

    findings: Findings | None
    faults: tuple[str, ...]

    @property
    def sound(self) -> bool:
        return not self.faults


def check_log(name: str, url: str, keys: Mapping[str, bytes], held: Iterable[Head] = ()) -> LogCheck:
    """Read ``name``'s whole log anew and check every entry and every head.

    ``keys``: raw Ed25519 keys by name; ``held``: heads that others hold, of any log. What a running owner has in memory
    is not believed.
    """
    others = tuple(held)
    while True:
        try:
            with AuditLog(name, url) as log:
                found = log.verify(keys, others)
                written, _ = log.page(limit=1)
        except StorageError as error:
            return LogCheck(None, (str(error),))
        # a head that its owner signed while we read covers entries that we had not read yet: look again
        if not found.faults or written <= found.size:
            return LogCheck(found, found.faults)
