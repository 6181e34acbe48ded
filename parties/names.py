"""Names that everybody uses: of parties, and of those that are none."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

__all__ = ["ADMIN", "COORDINATOR", "DESK", "NO_PARTIES", "PartyName"]

ADMIN = "admin"


DESK = "desk"


COORDINATOR = "coordinator"


NO_PARTIES = frozenset((ADMIN, DESK, COORDINATOR))


PartyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
