"""The time zone that this viewer reads times in: the one they chose, else the browser's, else UTC."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

__all__ = ["CHOSEN", "browser_zone", "viewer_zone"]

CHOSEN = "time zone chosen"


def viewer_zone() -> tzinfo:
    """Where times are shown; outside a visit, UTC."""
    return _named(st.session_state.get(CHOSEN)) or _named(browser_zone()) or UTC


def browser_zone() -> str:
    """The name of the browser's own zone, or "" where it does not say."""
    found: object = st.context.timezone
    return found if isinstance(found, str) else ""


def _named(name: object) -> tzinfo | None:
    if not isinstance(name, str) or not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
