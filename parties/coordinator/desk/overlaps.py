"""Overlap estimates on the page: for admins and auditors all, for an operator those of its party; admins propose."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import ValidationError

from parties.agreement.overlap import OverlapProposal, OverlapState
from parties.calls.asking import Nothing, Role
from parties.calls.overlaps import OverlapLine, OverlapQuestion, OverlapView
from parties.coordinator.desk.doors import ADMINS, Caller, Door, Doors
from parties.coordinator.overlaps import Overlaps
from parties.errors import ConfigError

__all__ = ["doors"]

_CONCERNED: frozenset[Role] = frozenset(("admin", "auditor", "operator"))


class _Overlaps:
    def __init__(self, overlaps: Overlaps, now: Callable[[], datetime]) -> None:
        self._overlaps = overlaps
        self._now = now

    def listed(self, _: object, caller: Caller) -> list[OverlapView]:
        every = self._overlaps.all()
        return [self._view(one) for one in every if caller.role != "operator" or caller.party in one.proposal.members]

    def propose(self, asked: OverlapQuestion, caller: Caller) -> list[OverlapView]:
        now = self._now().replace(microsecond=0)
        given = asked.model_dump(exclude={"days"})
        times = {"proposed_at": now, "expires_at": now + timedelta(days=asked.days), "nonce": secrets.token_hex(16)}
        try:
            proposal = OverlapProposal.model_validate(given | times)
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            where = f"{first['loc'][0]}: " if first["loc"] else ""
            raise ConfigError(f"the estimate cannot be: {where}{said}") from None
        self._overlaps.proposed(proposal)
        return self.listed(Nothing(), caller)

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
    """The doors about overlap estimates."""
    desk = _Overlaps(overlaps, now)
    return {
        "overlaps/list": Door(desk.listed, _CONCERNED),
        "overlaps/propose": Door(desk.propose, ADMINS, OverlapQuestion, acts=True),
    }
