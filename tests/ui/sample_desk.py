"""The sample's answers about the coordinator itself, its people, and the balances that the overview shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.calls.favourites import FavouriteQuestion
from parties.calls.people import ActionsQuestion
from parties.calls.state import PreferenceQuestion
from parties.client import (
    AccountView,
    ActionsView,
    ActionView,
    BalancesView,
    FavouriteView,
    HouseView,
    OverlapLine,
    OverlapView,
    SessionView,
    SettingView,
)
from parties.client import StandingView as Standing
from parties.errors import ConfigError

__all__ = ["T0", "balances", "doors", "house", "overlaps"]

T0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
HOSTILE = "<b>Eve</b> :red[x]"


def house(**changes: Any) -> HouseView:
    """A coordinator in good order, but for one certificate."""
    terms: dict[str, Any] = {
        "name": "Harbour consortium", "version": "0.1.0", "started_at": T0, "database": "SQLite",
        "disk_free": 212 * 10**9, "disk_total": 500 * 10**9, "log_entries": 128,
        "warnings": (
            "the certificate of orbit ends on 2026-11-14, in 12 days: its operator runs `entente party rotate "
            "--home orbit`, and starts the node again",
            "the certificate of till ended on 2026-10-30: run `entente coordinator revoke till --home COORDINATOR`, "
            "then `entente invite till --home COORDINATOR`, with which it joins again",
        ),
    }  # fmt: skip
    return HouseView.model_validate({**terms, **changes})


def balances(*, balanced: bool = True) -> BalancesView:
    """Two parties' pending rewards."""
    standing = Standing(
        entries=12, checked=12, complete=True, balanced=balanced, finding="" if balanced else "entry 7 does not fit",
        transactions=4, postings=12, unresolved=3, checked_at=T0, whole_at=T0,
    )  # fmt: skip
    accounts = tuple(
        AccountView(
            account=f"Liabilities:Party:{party}:Pending", kind="Pending", party=party, posted=0, pending=minor,
            unit="USD", scale=2,
        )
        for party, minor in (("orbit", 137_500), ("chatter", 90_000))
    )  # fmt: skip
    return BalancesView(standing=standing, scope="all", accounts=accounts)


def overlaps() -> Iterator[OverlapView]:
    """One that is estimated, by sector, and one that somebody refused."""
    lines = tuple(
        OverlapLine(part=part, group=("harbor", "orbit"), estimate=count, deviation=8.2)
        for part, count in (("Energy", 41.6), ("Utilities", 0.0))
    )
    answers = {"harbor": "agreed", "orbit": f"refused: {HOSTILE}"}
    for number, status in enumerate(("done", "refused")):
        yield OverlapView(
            overlap_id=f"{number}" * 64, members=("harbor", "orbit"), purpose=f"worth it? {HOSTILE}", epsilon=1.0,
            status=status, proposed_at=T0, expires_at=T0 + timedelta(days=7), answers=answers,
            lines=lines if status == "done" else (),
        )  # fmt: skip


def doors() -> dict[str, Callable[[Any], Any]]:
    """Doors whose preferences, sessions and actions change as a coordinator's would."""
    preferred: dict[str, str] = {"tour": "seen"}
    favoured: list[FavouriteView] = []
    sessions = {
        number: SessionView(
            number=number, name=name, role="admin" if here else "reader", way="one-time token", began=T0, seen=T0,
            expires=T0 + timedelta(hours=12), here=here, ended=None if number < 3 else T0,
            ended_by="time" * (number > 2),
        )
        for number, name, here in ((1, "Ada", True), (2, HOSTILE, False), (3, "Ben", False))
    }  # fmt: skip
    whats = ("desk/sign-in", "propose", "cancel")
    actions = tuple(
        ActionView(
            number=number, at=T0 + timedelta(minutes=number), name=("Ada", HOSTILE)[number % 2], role="admin",
            session=1, what=whats[number % 3], about="ab" * 32, outcome="done" if number % 5 else "refused: not now",
        )
        for number in range(120, 0, -1)
    )  # fmt: skip

    def page(question: ActionsQuestion) -> ActionsView:
        found = [a for a in actions if question.name in ("", a.name)]
        return ActionsView(total=len(found), actions=tuple(found[question.offset : question.offset + question.limit]))

    def end(question: Any) -> bytes:
        if sessions.pop(question.number, None) is None:
            raise ConfigError(f"session {question.number} has ended already: read the list again")
        return b"null"

    def prefer(question: PreferenceQuestion) -> bytes:
        preferred[question.key] = question.value
        return b"null"

    def favour(question: FavouriteQuestion) -> bytes:
        one = FavouriteView(kind=question.kind, what=question.what)
        favoured[:] = [one] * question.kept + [other for other in favoured if other != one]
        return b"null"

    return {
        "desk/favourites": lambda _: list(favoured),
        "desk/favour": favour,
        "overlaps/list": lambda _: list(overlaps()),
        "overlaps/propose": lambda _: list(overlaps()),
        "desk/house": lambda _: house(),
        "desk/settings": lambda _: [
            SettingView(
                table="", key="name", value="Harbour consortium", default="Entente", meaning="the name", given=True
            ),
            SettingView(table="desk", key="idle_minutes", value="30", default="30", meaning="", given=False),
        ],
        "desk/preferences": lambda _: dict(preferred),
        "desk/prefer": prefer,
        "desk/sessions": lambda _: list(sessions.values()),
        "desk/end-session": end,
        "desk/sign-out": lambda _: b"null",
        "desk/actions": page,
        "ledger/balances": lambda _: balances(),
    }
