"""Tables about the desk itself: settings, sign-ins and what people did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from parties.client import ActionView, SessionView, SettingView
from ui.wording import MISSING, count

__all__ = ["actions_table", "sessions_table", "settings_table"]


_KIBI = 1024
_DOINGS: Mapping[str, str] = {
    "propose": "propose a run", "runs/propose": "propose a run", "cancel": "cancel a run", "pause": "pause a run",
    "resume": "resume a run", "desk/sign-in": "sign in", "desk/sign-out": "sign out",
    "desk/end-session": "end somebody's session", "members/invite": "invite a party",
    "members/withdraw": "withdraw an invitation", "members/revoke": "put a party out",
    "settlement/ask": "ask for approval of a settlement", "settlement/cash-ask": "ask for approval of a payment",
    "settlement/withdraw": "withdraw a request for approval", "ledger/verify": "verify the books",
}  # fmt: skip


def settings_table(settings: Sequence[SettingView]) -> pd.DataFrame:
    """One row per setting, in the order of the file; bytes and seconds as people say them."""
    rows = [
        (
            f"[{s.table}]" if s.table else "At the top of the file",
            s.key,
            _said(s, s.value),
            _said(s, s.default),
            s.meaning,
        )
        for s in settings
    ]
    return pd.DataFrame(rows, columns=["Table", "Key", "In force", "Default", "Meaning"])


def _said(setting: SettingView, value: str) -> str:
    """A value for people: nothing as a dash, whole sizes in KiB, MiB or GiB."""
    if value in ("", "null", "None"):
        return MISSING
    if "bytes" in setting.key and value.isdigit():
        size, unit = int(value), "B"
        for larger in ("KiB", "MiB", "GiB"):
            if size < _KIBI or size % _KIBI:
                break
            size, unit = size // _KIBI, larger
        return f"{count(size)} {unit}"
    return value


def actions_table(actions: Sequence[ActionView]) -> pd.DataFrame:
    """One row per action, in the order given."""
    rows = [
        (
            a.at,
            a.name,
            f"{a.role} of {a.party}" if a.party else a.role,
            _DOINGS.get(a.what, a.what),
            a.about,
            a.outcome or "under way",
        )
        for a in actions
    ]
    return pd.DataFrame(rows, columns=["Time", "Person", "Role", "What", "About", "Outcome"])


def sessions_table(sessions: Sequence[SessionView]) -> pd.DataFrame:
    """One row per session, in the order given."""
    rows = [
        (s.name, f"{s.role} of {s.party}" if s.party else s.role, s.way, s.began, s.seen, s.ended_by) for s in sessions
    ]
    return pd.DataFrame(rows, columns=["Person", "Role", "Signed in by", "Began", "Last used", "Ended by"])
