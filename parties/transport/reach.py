"""How far away another node's port is."""

from __future__ import annotations

import socket
import time

__all__ = ["round_trip"]


def round_trip(address: str, *, timeout: float = 3.0) -> float | None:
    """Seconds that a TCP connection to ``address`` (host:port) takes to open; None when nobody answers in time."""
    host, _, port = address.rpartition(":")
    began = time.perf_counter()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            return time.perf_counter() - began
    except (OSError, ValueError):
        return None
