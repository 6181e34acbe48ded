"""When a part of a page fails: a number to find the fault by in the server's log, and never the fault itself."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable
from typing import Any

import streamlit as st

from parties.client import EntenteError, SignInError
from ui.empty_states import explain

__all__ = ["guarded", "live_part"]

_log = logging.getLogger("entente.page")


def guarded(show: Callable[..., None]) -> Callable[..., None]:
    """``show``, whose errors are explained where they are ours, and numbered and logged where they are faults."""

    @functools.wraps(show)
    def shown(*args: Any, **named: Any) -> None:
        try:
            show(*args, **named)
        except SignInError:
            raise
        except EntenteError as error:
            explain(error)
        except Exception:  # whatever it is: the visitor gets a number, the log the fault
            _incident(getattr(show, "__qualname__", "page"))

    return shown


def live_part(show: Callable[..., None], *, run_every: float | None = None) -> Callable[..., None]:
    """A part of a page that is drawn again by itself, and whose fault ends no other part."""
    return st.fragment(guarded(show), run_every=run_every)


def _incident(where: str) -> None:
    number = secrets.token_hex(4)
    _log.exception("incident %s in %s", number, where)
    with st.container(key="incident"):
        st.error(
            f"Incident {number}: tell the number to whoever runs this page, whose log says what happened. "
            "The other pages go on.",
            title="This part of the page has failed", icon=":material/report:",
        )  # fmt: skip
        st.button("Try again", icon=":material/refresh:", key=f"again {number}")
