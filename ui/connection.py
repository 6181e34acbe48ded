"""The page's one connection to the coordinator, over the desk's certificate; sessions share it.

The coordinator's address and the desk's folder come from the environment variables :data:`COORDINATOR` (may be empty:
the roster knows it) and :data:`CREDENTIALS`. That folder holds a TLS key and nothing that signs.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from parties.client import DESK, Client, EntenteError

__all__ = ["COORDINATOR", "CREDENTIALS", "NotStarted", "connection"]

COORDINATOR = "ENTENTE_COORDINATOR"
CREDENTIALS = "ENTENTE_DESK"

_lock = threading.Lock()
_held: dict[tuple[str, str], Client] = {}


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
