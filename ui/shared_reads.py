"""Reads of what moves: one read serves every session of the same role for a moment, and a failed one shows the last.

Ten people who watch one run ask the coordinator once a second together, not ten times. Answers are frozen records, so
sessions can share them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st

from parties.client import EntenteError, PeerError, ViewerView
from ui.empty_states import explain
from ui.lost import away_since, found, lost
from ui.wording import instant

__all__ = ["FRESH_SECONDS", "kept", "latest", "seen", "shared"]

T = TypeVar("T")

FRESH_SECONDS = 1.0
_MOST_KEPT = 256
_SURE_SECONDS = 5.0
_SURE = "when this session's right was last proved"


@dataclass(slots=True)
class _Read:
    """One answer, and the lock that lets one session at a time renew it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    at: float = float("-inf")
    value: Any = None


_READS: WeakKeyDictionary[object, dict[tuple[str, ...], _Read]] = WeakKeyDictionary()
_GUARD = threading.Lock()


def shared(
    client: object, viewer: ViewerView, what: str, read: Callable[[], T], *, seconds: float = FRESH_SECONDS
) -> T:
    """The answer of ``read``, or the one that a session of the same role had within ``seconds``.

    ``what`` names the question and its arguments. An error reaches the session that met it, and is not kept. Every
    session asks for itself once in a while, so that one that has ended does not go on seeing what others read.
    """
    key = (viewer.role, viewer.party, what)
    with _GUARD:
        reads = _READS.setdefault(getattr(client, "root", client), {})
        if len(reads) > _MOST_KEPT:
            old = time.monotonic() - 60 * seconds
            for stale in [name for name, kept in reads.items() if kept.at < old and not kept.lock.locked()]:
                del reads[stale]
        entry = reads.setdefault(key, _Read())
    with entry.lock:
        sure = time.monotonic() - st.session_state.get(_SURE, float("-inf")) <= _SURE_SECONDS
        if not sure or time.monotonic() - entry.at > seconds:
            entry.value = read()
            entry.at = st.session_state[_SURE] = time.monotonic()
        value: T = entry.value
        return value


def latest(key: str, read: Callable[[], T], before: T | None = None) -> T | None:
    """What ``read`` gives, without a spinner; while the coordinator is away, what this session saw last, said so.

    ``before`` is shown where nothing has been read under ``key`` yet.
    """
    place = _kept(key)
    try:
        value = read()
    except EntenteError as error:
        explain(error)
        # what is refused, or is not there, is no reason to show what was there before
        last: T | None = st.session_state.get(place, before) if isinstance(error, PeerError) else None
        if last is not None:
            since = lost()
            st.caption(
                f"No answer since {instant(since)}. Below is the last state that was read; it goes on by itself when "
                "the coordinator answers."
            )
        return last
    found()
    st.session_state[place] = value
    return value


def kept(key: str, what: str, read: Callable[[], T]) -> T | None:
    """As :func:`latest`, for a page that is read once: with a spinner, and a way to try again."""
    with st.spinner(f"Reading {what}"):
        value = latest(key, read)
    if value is None or away_since() is not None:
        st.button("Try again", icon=":material/refresh:", key=f"again {what}")
    return value


def seen(key: str) -> bool:
    """Whether this session has read anything under ``key``."""
    return _kept(key) in st.session_state


def _kept(key: str) -> str:
    return f"last seen {key}"
