"""The coordinator as witness of commitments to rows: when each was told stands in its audit log."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from parties.audit.log import AuditLog
from parties.errors import AgreementError
from parties.settlement.committed_rows import RowsCommitted

__all__ = ["CommittedRows"]

_KIND = "rows"
_AHEAD = timedelta(minutes=5)


class CommittedRows:
    """What parties have committed to, and when. Thread-safe."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._lock = threading.Lock()
        self._told: dict[str, list[tuple[datetime, datetime]]] = {}
        self._roots: set[tuple[str, str, datetime]] = set()
        for entry in audit.entries():
            if entry.kind == _KIND:
                body = entry.body
                said = RowsCommitted(root=body["root"], through=body["through"])
                self._remember(str(body["by"]), said, datetime.fromisoformat(entry.at))

    def _remember(self, party: str, said: RowsCommitted, at: datetime) -> None:
        self._told.setdefault(party, []).append((said.through, at))
        self._roots.add((party, said.root, said.through))

    def take(self, party: str, said: RowsCommitted) -> bool:
        """Log a party's commitment. False: it is known. Raises :class:`AgreementError` for one ahead of the clock."""
        now = datetime.now(UTC)
        if said.through > now + _AHEAD:
            raise AgreementError(f"{party} commits to rows up to {said.through:%Y-%m-%d %H:%M} UTC: check its clock")
        with self._lock:
            if (party, said.root, said.through) in self._roots:
                return False
            self._audit.append(_KIND, "", {"by": party, "root": said.root, "through": said.through.isoformat()})
            self._remember(party, said, now)
        return True

    def told(self, party: str) -> tuple[tuple[datetime, datetime], ...]:
        """(through, told at) of the party's commitments."""
        with self._lock:
            return tuple(self._told.get(party, ()))
