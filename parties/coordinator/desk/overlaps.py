"""Overlap estimates on the page: for admins and auditors all, for an operator those of its party."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from parties.agreement.overlap import OverlapState
from parties.calls.asking import Role
from parties.calls.overlaps import OverlapLine, OverlapView
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.overlaps import Overlaps

__all__ = ["doors"]

_CONCERNED: frozenset[Role] = frozenset(("admin", "auditor", "operator"))


class _Overlaps:
    def __init__(self, overlaps: Overlaps, now: Callable[[], datetime]) -> None:
        self._overlaps = overlaps
        self._now = now

    def listed(self, _: object, caller: Caller) -> list[OverlapView]:
        every = self._overlaps.all()
        return [self._view(one) for one in every if caller.role != "operator" or caller.party in one.proposal.members]

    def _view(self, state: OverlapState) -> OverlapView:
        proposal = state.proposal
        over = state.status == "waiting" and proposal.expires_at <= self._now()
        said = dict.fromkeys(proposal.members, "has not answered") | dict.fromkeys(state.signatures, "agreed")
        said |= {name: f"refused: {why}" for name, why in state.refused.items()}
        said |= {name: f"could not: {why}" for name, why in state.failed.items()}
        lines = (
            OverlapLine(
                part=one.part,
                group=tuple(group.split("+")),
                estimate=max(count, 0),
                deviation=proposal.terms.deviation(group.count("+") + 1),
            )
            for one in state.found
            for group, count in one.together.items()
        )
        return OverlapView(
            overlap_id=proposal.overlap_id,
            members=proposal.members,
            purpose=proposal.purpose,
            epsilon=proposal.epsilon,
            status="expired" if over else state.status,
            proposed_at=proposal.proposed_at,
            expires_at=proposal.expires_at,
            answers=said,
            lines=tuple(lines),
        )


def doors(overlaps: Overlaps, now: Callable[[], datetime]) -> Doors:
    """The door about overlap estimates."""
    return {"overlaps/list": Door(_Overlaps(overlaps, now).listed, _CONCERNED)}
