"""The last agreement that this node signed with the same parties: what a new one is compared with."""

from __future__ import annotations

from parties.agreement.document import Agreement
from parties.node.home import NodeHome
from parties.node.settlements import signed_agreement

__all__ = ["last_signed"]


def last_signed(home: NodeHome, agreement: Agreement) -> Agreement | None:
    """The latest agreement that ``home`` signed with the very parties of ``agreement``; None where there is none."""
    names = {party.name for party in agreement.parties}
    found: list[Agreement] = []
    with home.audit() as audit:
        for folder in (home.folder / "runs").glob("*/"):
            earlier = signed_agreement(home, audit, folder.name)
            if earlier is None or earlier.run_id == agreement.run_id:
                continue
            if {party.name for party in earlier.parties} == names:
                found.append(earlier)
    return max(found, key=lambda earlier: earlier.proposed_at, default=None)
