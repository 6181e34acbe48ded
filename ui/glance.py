"""What the overview shows, read once for every session of a role; and how much of it is the reader's own to do."""

from __future__ import annotations

from dataclasses import dataclass

from parties.client import (
    BalancesView,
    ClientProtocol,
    EntenteError,
    HouseView,
    PartyView,
    RunPage,
    RunsQuestion,
    SettlementPage,
    SettlementQuestion,
    ViewerView,
)
from ui.needs_attention import Concern, concerns
from ui.shared_reads import shared

__all__ = ["MOST", "Glance", "glance", "own_to_do"]

MOST = 5
_UNDER_WAY = RunsQuestion(groups=("waiting", "running", "paused"), limit=MOST)
_STOPPED = RunsQuestion(groups=("aborted",), limit=3)
_MONEY = SettlementQuestion(limit=100)
_BADGE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Glance:
    """One reading. ``balances`` and ``settlements`` are None for a reader, who sees no money."""

    house: HouseView
    page: RunPage
    stopped: RunPage
    parties: list[PartyView]
    balances: BalancesView | None
    settlements: SettlementPage | None

    def concerns(self, viewer: ViewerView) -> list[Concern]:
        """What needs somebody, the reader's own first."""
        return concerns(
            self.house, self.page.runs, self.parties, self.balances, viewer, self.stopped.runs, self.settlements
        )


def glance(client: ClientProtocol, viewer: ViewerView, *, seconds: float = 1.0) -> Glance:
    """The coordinator as it is, or as a session of the same role read it within ``seconds``."""
    return shared(client, viewer, "overview", lambda: _read(client, viewer), seconds=seconds)


def own_to_do(client: ClientProtocol, viewer: ViewerView) -> int:
    """How many things the reader has to do or to look at, for the navigation; 0 while the coordinator is away."""
    try:
        found = glance(client, viewer, seconds=_BADGE_SECONDS).concerns(viewer)
    except EntenteError:
        return 0
    return sum(one.own or one.grave for one in found)


def _read(client: ClientProtocol, viewer: ViewerView) -> Glance:
    sees_money = viewer.role != "reader"
    return Glance(
        client.house(),
        client.runs_page(_UNDER_WAY),
        client.runs_page(_STOPPED),
        client.parties(),
        client.balances() if sees_money else None,
        client.settlements(_MONEY) if sees_money else None,
    )
