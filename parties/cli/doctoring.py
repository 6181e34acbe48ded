"""``entente doctor``: is this home fit to run?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parties.cli.console import table
from parties.cli.joining import KeyFile, use_key_file
from parties.errors import ConfigError

__all__ = ["doctor"]


def doctor(
    home: Annotated[Path, typer.Option("--home", help="Folder of a node or of the coordinator.")],
    key_file: KeyFile = None,
) -> None:
    """Check versions, settings, keys, permissions, certificate dates, disk, clock, and who can be reached."""
    from parties.doctor import examine

    use_key_file(key_file)
    if not home.is_dir():
        raise ConfigError(f"{home}: no such folder; name the node's home")
    found = examine(home)
    table("", ("check", "verdict", "detail"), ((check.what, check.verdict, check.detail) for check in found))
    failed = [check for check in found if check.verdict == "fail"]
    if failed:
        raise ConfigError(f"{len(failed)} checks failed, the first: {failed[0].what}: {failed[0].detail}")
