"""Settings that a person wrote as TOML, with or without a mark, in UTF-8 or UTF-16."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from parties.errors import ConfigError
from parties.files.text import read_text

__all__ = ["read_toml"]


def read_toml(path: Path, remedy: str = "name an existing one") -> dict[str, Any]:
    """The file's tables. Raises :class:`ConfigError` naming file and line, or no such file with the remedy."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file; {remedy}")
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error}); mend that line") from None
