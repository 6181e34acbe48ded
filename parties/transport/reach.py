"""Whether a port can be, and how far away another node's is."""

from __future__ import annotations

import socket
import time

__all__ = ["beyond_ports", "round_trip"]

_LAST_PORT = 65535


def beyond_ports(address: str) -> str:
    """That no such port can be, or "". gRPC would take the number's last 16 bits, which is another port."""
    port = address.rpartition(":")[2]
    return f"ports end at {_LAST_PORT}" if port.isdecimal() and int(port) > _LAST_PORT else ""


def round_trip(address: str, *, timeout: float = 3.0) -> float | None:
    """Seconds that a TCP connection to ``address`` (host:port) takes to open; None when nobody answers in time."""
    host, _, port = address.rpartition(":")
    began = time.perf_counter()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            return time.perf_counter() - began
    except (OSError, ValueError):
        return None
