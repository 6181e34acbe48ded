"""A process's health and metrics over HTTP: ``/health`` and ``/metrics`` (Prometheus text format 0.0.4).

It is for the machine's own monitoring: a bare port listens on loopback. Metrics are counts, times and sizes of this
process and its certificates; there is nothing in them of data, rows or scores.
"""

from __future__ import annotations

import logging
import resource
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from parties import __version__
from parties.errors import ConfigError
from parties.process.supervision import start_loop

__all__ = ["HealthServer", "Sample", "exposition", "process_samples"]

_LOG = logging.getLogger(__name__)
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    """One number. ``name`` without the prefix ``entente_``; all samples of a name share ``help``."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def exposition(samples: Iterable[Sample]) -> str:
    """The samples as Prometheus text; every one is a gauge."""
    lines: list[str] = []
    told: set[str] = set()
    for sample in sorted(samples, key=lambda one: one.name):
        name = f"entente_{sample.name}"
        if name not in told:
            told.add(name)
            lines += [f"# HELP {name} {_escaped(sample.help)}", f"# TYPE {name} gauge"]
        labels = ",".join(f'{key}="{_escaped(value, quoted=True)}"' for key, value in sample.labels.items())
        lines.append(f"{name}{{{labels}}} {sample.value!r}" if labels else f"{name} {sample.value!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def process_samples(folder: Path, role: str, name: str) -> Iterator[Sample]:
    """What every process of ours tells."""
    yield Sample("info", "What runs here.", 1, {"version": __version__, "role": role, "name": name})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield Sample("peak_resident_bytes", "Most memory this process has held.", peak)
    yield Sample("disk_free_bytes", "Free space where this home lies.", shutil.disk_usage(folder).free)


class HealthServer:
    """Serves until it is closed. ``healthy`` says what is wrong, or ""; ``samples`` are taken at each call."""

    def __init__(self, address: str, healthy: Callable[[], str], samples: Callable[[], Iterable[Sample]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    trouble = healthy()
                    self._answer(503 if trouble else 200, (trouble or "ok") + "\n", "text/plain; charset=utf-8")
                elif self.path == "/metrics":
                    self._answer(200, exposition(samples()), _TEXT)
                else:
                    self._answer(404, "there are /health and /metrics\n", "text/plain; charset=utf-8")

            def _answer(self, status: int, text: str, kind: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def version_string(self) -> str:
                return "entente"

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: it is called every few seconds."""

        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host or "127.0.0.1", int(port)), Handler)
        except (OSError, ValueError, OverflowError):
            raise ConfigError(f"metrics = {address!r}: cannot listen there; give a free port, or HOST:PORT") from None
        self._server.daemon_threads = True
        self.address = f"{self._server.server_address[0]!s}:{self._server.server_address[1]}"
        self._closed = threading.Event()
        self._thread = start_loop(self._server.serve_forever, "health", self._closed, every=0.0, trouble=1.0)
        _LOG.info("health and metrics at http://%s", self.address)

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
