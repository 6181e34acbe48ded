"""Whether a port can be, and how far away another node's is."""

from __future__ import annotations

import socket
import time

from parties.errors import ConfigError

__all__ = ["beyond_ports", "cannot_listen", "round_trip"]

_LAST_PORT = 65535


def beyond_ports(address: str) -> bool:
    """Whether no such port can be: gRPC would take the number's last 16 bits, which is another one."""
    port = address.rpartition(":")[2]
    return port.isdecimal() and int(port) > _LAST_PORT


def cannot_listen(address: str) -> ConfigError:
    """Why a node cannot listen there."""
    why = f"ports end at {_LAST_PORT}" if beyond_ports(address) else "another program may use it"
    return ConfigError(f"cannot listen on {address}: {why}; choose another port")


def round_trip(address: str, *, timeout: float = 3.0) -> float | None:
    """Seconds that a TCP connection to ``address`` (host:port) takes to open; None when nobody answers in time."""
    host, _, port = address.rpartition(":")
    began = time.perf_counter()
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            return time.perf_counter() - began
    except (OSError, ValueError):
        return None
