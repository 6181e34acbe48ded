"""How a process logs: lines for people, or one JSON object per line for machines. Never a value, an id or a key.

What may be logged is decided where it is logged; here only the shape is. Every time is UTC and says so. A JSON line has
``at``, ``level``, ``logger``, ``message`` and, where an error was caught, ``error`` (its class) and ``where`` (the
places it passed), but not its text.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["LOG_FORMAT", "JsonLines", "PlainLines", "log_to"]

LOG_FORMAT = "ENTENTE_LOG_FORMAT"


class JsonLines(logging.Formatter):
    """One JSON object per record; control characters are escaped, so a line is a record."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            said["where"] = [f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames]
        return json.dumps(said)


class PlainLines(logging.Formatter):
    """``2026-01-31T18:05:59Z INFO message``: firms in several zones read one time."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        del datefmt
        return f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%SZ}"


def log_to(stream: TextIO | None = None, *, json_lines: bool | None = None, debug: bool = False) -> None:
    """Log to ``stream`` (standard error); JSON where asked for, or where ``ENTENTE_LOG_FORMAT`` is ``json``.

    ``debug``: of this program also what is of use to its makers alone, such as how the library says that a call ended.
    """
    wanted = os.environ.get(LOG_FORMAT, "") == "json" if json_lines is None else json_lines
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if wanted else PlainLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if debug:
        logging.getLogger("parties").setLevel(logging.DEBUG)
