"""The page's one connection to the coordinator, over the desk's certificate; sessions share it.

The coordinator's address and the desk's folder come from the environment variables :data:`COORDINATOR` (may be empty:
the roster knows it) and :data:`CREDENTIALS`. That folder holds a TLS key and nothing that signs.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from parties.client import DESK, Client, EntenteError

__all__ = ["COORDINATOR", "CREDENTIALS", "NotStarted", "connection", "consortium_name", "known_as"]

COORDINATOR = "ENTENTE_COORDINATOR"
CREDENTIALS = "ENTENTE_DESK"

_NAME_FILE = "consortium.txt"
_LONGEST = 120

_lock = threading.Lock()
_held: dict[tuple[str, str], Client] = {}
_told: list[str] = []


class NotStarted(EntenteError):
    """The page was not started by its command."""


def connection() -> Client:
    """The connection, made at the first call. Raises :class:`EntenteError` when it cannot be made."""
    address, credentials = os.environ.get(COORDINATOR, ""), os.environ.get(CREDENTIALS, "")
    if not credentials:
        raise NotStarted(f"{CREDENTIALS} is not set: start this page with `entente ui`.")
    with _lock:
        client = _held.get((address, credentials))
        if client is None:
            client = _held[address, credentials] = Client(address, Path(credentials), name=DESK)
        return client


def known_as(name: str) -> None:
    """The consortium's name, as the coordinator has just told it to somebody who is signed in."""
    _told[:] = [name]


def consortium_name() -> str:
    """What the consortium is called, for those who are not signed in yet.

    As it was last told, else as it was called when the desk's folder was made; "" where neither is known.
    """
    if _told:
        return _told[0]
    folder = os.environ.get(CREDENTIALS, "")
    try:
        return (Path(folder) / _NAME_FILE).read_text(encoding="utf-8").strip()[:_LONGEST] if folder else ""
    except (OSError, UnicodeDecodeError):
        return ""
