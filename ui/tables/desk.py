"""Tables about the desk itself: settings, sign-ins and what people did."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from parties.client import ActionView, SessionView, SettingView
from ui.wording import MISSING, instant

__all__ = ["actions_table", "sessions_table", "settings_table"]


def settings_table(settings: Sequence[SettingView]) -> pd.DataFrame:
    """One row per setting, in the order of the file."""
    rows = [
        (f"[{s.table}]" if s.table else "", s.key, s.value or MISSING, s.default or MISSING, s.meaning)
        for s in settings
    ]
    return pd.DataFrame(rows, columns=["Table", "Key", "In force", "Default", "Meaning"])


def actions_table(actions: Sequence[ActionView]) -> pd.DataFrame:
    """One row per action, in the order given."""
    rows = [
        (
            instant(a.at),
            a.name,
            f"{a.role} of {a.party}" if a.party else a.role,
            a.what,
            a.about,
            a.outcome or "under way",
        )
        for a in actions
    ]
    return pd.DataFrame(rows, columns=["Time", "Person", "Role", "What", "About", "Outcome"])


def sessions_table(sessions: Sequence[SessionView]) -> pd.DataFrame:
    """One row per session, in the order given."""
    rows = [
        (s.name, f"{s.role} of {s.party}" if s.party else s.role, s.way, instant(s.began), instant(s.seen), s.ended_by)
        for s in sessions
    ]
    return pd.DataFrame(rows, columns=["Person", "Role", "Signed in by", "Began", "Last used", "Ended by"])
