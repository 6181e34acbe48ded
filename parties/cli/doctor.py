"""``entente doctor``: every check of a home as one line; the first that failed is the error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parties.cli.joining import KeyFile, use_key_file
from parties.errors import ConfigError
from parties.plurals import things
from parties.terminal.console import table

__all__ = ["doctor"]


def _refuse_other_folders(home: Path) -> None:
    """Say at once where a folder is nobody's home, and which below it is."""
    settings = ("node.toml", "coordinator.toml")
    if any((home / name).exists() for name in (*settings, "keys")):
        return
    below = sorted(
        {str(path.parent) for name in settings for path in (*home.glob(f"*/{name}"), *home.glob(f"*/*/{name}"))}
    )
    meant = f"; did you mean {' or '.join(below[:4])}?" if below else ""
    raise ConfigError(f"{home}: this is the home of no node and of no coordinator (it has no node.toml){meant}")


def doctor(
    home: Annotated[Path, typer.Option("--home", help="Folder of a node or of the coordinator.")],
    key_file: KeyFile = None,
) -> None:
    """Check versions, settings, keys, permissions, certificate dates, disk, clock, and who can be reached."""
    from parties.cli.examining import examine

    use_key_file(key_file)
    if not home.is_dir():
        raise ConfigError(f"{home}: no such folder; name the node's home")
    _refuse_other_folders(home)
    found = examine(home)
    table("", ("check", "verdict", "detail"), ((check.what, check.verdict, check.detail) for check in found))
    failed = [check for check in found if check.verdict == "fail"]
    if failed:
        count = "1 check failed" if len(failed) == 1 else f"{things(len(failed), 'checks')} failed, the first"
        raise ConfigError(f"{count}: {failed[0].what}: {failed[0].detail}")
