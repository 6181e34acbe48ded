"""Databases: SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from parties.errors import ConfigError, StorageError
from parties.private_files import make_private

__all__ = ["copied", "is_read_only", "open_engine"]


def is_read_only(url: str) -> bool:
    """Whether ``url`` is a SQLite file that is there and on which, or beside which, nothing can be written."""
    parsed = make_url(url)
    file = Path(parsed.database or "")
    if parsed.get_backend_name() != "sqlite" or not file.is_file():
        return False
    return not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def copied(url: str, folder: Path) -> str:
    """The URL of a copy of this SQLite file in ``folder``, with what is still in its log (-wal).

    A file in WAL mode cannot be read where nothing can be written beside it, which is how an auditor gets one. Raises
    :class:`StorageError` where it cannot be copied.
    """
    file = Path(make_url(url).database or "")
    try:
        for ending in ("", "-wal"):
            part = file.with_name(file.name + ending)
            if part.is_file():
                shutil.copyfile(part, folder / part.name)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read ({error.strerror}); check permissions and disk") from None
    return f"sqlite:///{folder / file.name}"


def open_engine(url: str) -> Engine:
    """A database engine for ``url``. SQLite is set to survive a crash of the machine: WAL, synchronous=FULL."""
    remedy = "use sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(f"event log URL {parsed.render_as_string()!r}: this database is not supported; {remedy}")
        engine = create_engine(parsed)
    except ArgumentError:
        raise ConfigError(f"the event log's URL cannot be read; {remedy}") from None
    except ImportError:
        raise ConfigError("an event log on PostgreSQL needs the driver: pip install 'entente[postgresql]'") from None
    if engine.dialect.name == "sqlite":
        make_private(engine.url.database)

        @event.listens_for(engine, "connect")
        def _durable(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
                cursor.execute(f"PRAGMA {setting}")
            cursor.close()

    return engine
