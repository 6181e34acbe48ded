"""``entente notices``: try whether people outside the page are reached."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from parties.errors import ConfigError, EntenteError, PeerError
from parties.terminal.console import say

__all__ = ["notices"]


def notices(
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator or of a party's node.")],
) -> None:
    """Send a test notice to every webhook and mail address that [notices] names.

    Example: entente notices --home fund
    """
    from parties.coordinator.settings import load_coordinator_settings
    from parties.node.settings import load_node_settings
    from parties.notices.message import Notice
    from parties.notices.notifier import ways

    if (home / "node.toml").exists():
        node = load_node_settings(home / "node.toml")
        told, who = node.notices, node.party.name
    elif home.is_dir():
        house = load_coordinator_settings(home)
        told, who = house.notices, house.name
    else:
        raise ConfigError(f"{home}: no such folder; name the coordinator's home or a node's")
    found = ways(told, home, who)
    if not found:
        raise ConfigError(f"{home}: [notices] names nobody; docs/admin-guide.md shows what to write")
    text = "this is a test: notices from here arrive."
    failed = 0
    for way in found:
        now = datetime.now(UTC)
        try:
            way.send(Notice(f"test {now.isoformat()}", "finished", text, text, "entente run list --help"), now)
            say(f"{way.name}: sent")
        except EntenteError as error:
            failed += 1
            say(f"{way.name}: {error}")
    if failed:
        raise PeerError(f"{failed} of {len(found)} could not be told")
