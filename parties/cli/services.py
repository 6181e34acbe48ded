"""``entente coordinator`` and ``entente party``: the processes that operators run, and their approval of runs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from parties.cli import joining, proposals
from parties.cli.help_group import HelpGroup
from parties.cli.joining import KeyFile
from parties.cli.parent import follow_parent
from parties.errors import ConfigError
from parties.process.leaving import when_told_to_stop
from parties.process.logs import log_to
from parties.terminal.console import say, state

__all__ = ["coordinator", "coordinator_start", "party", "party_approve", "party_start"]

coordinator = typer.Typer(cls=HelpGroup, help="Found a consortium and run its coordinator.", no_args_is_help=True)
party = typer.Typer(
    cls=HelpGroup, help="Join a consortium, run a node, and decide on the runs proposed to it.", no_args_is_help=True
)

Home = Annotated[Path, typer.Option("--home", help="Folder of the node: its settings, keys, roster and state.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line.")]
WithParent = Annotated[bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input closes.")]


coordinator.command("init")(joining.coordinator_init)
coordinator.command("revoke")(joining.coordinator_revoke)
coordinator.command("roster")(joining.coordinator_roster)
coordinator.command("rotate")(joining.coordinator_rotate)
party.command("join")(joining.party_join)
party.command("commit")(joining.party_commit)
party.command("roster")(joining.party_roster)
party.command("rotate")(joining.party_rotate)


@coordinator.command("start")
def coordinator_start(
    home: Home, key_file: KeyFile = None, log_json: LogJson = False, with_parent: WithParent = False
) -> None:
    """Serve as the coordinator until stopped."""
    _begin(home, with_parent, key_file, log_json)
    from parties.coordinator.service import serve

    stop = threading.Event()

    when_told_to_stop(stop.set)
    serve(home, until=stop, ready=lambda address: say(f"the coordinator listens on {address}"))


@party.command("start")
def party_start(
    home: Home,
    until_run_ends: Annotated[
        bool, typer.Option("--until-run-ends", help="Leave when one run has ended, with its exit code.")
    ] = False,
    key_file: KeyFile = None,
    log_json: LogJson = False,
    with_parent: WithParent = False,
) -> int:
    """Serve as a party's node until stopped."""
    _begin(home, with_parent, key_file, log_json)
    from parties.node.serve import serve

    return serve(home, until_run_ends=until_run_ends)


@party.command("approve")
def party_approve(
    run: Annotated[str, typer.Argument(help="Run id, or its first characters.")],
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reject: Annotated[str, typer.Option("--reject", metavar="WHY", help="Refuse the run; the others read why.")] = "",
) -> None:
    """Read what signing a proposed run means, and decide: entente run approve and run reject in one."""
    if reject:
        proposals.run_reject(run, home, why=reject)
    else:
        proposals.run_approve(run, home, yes=yes)


def _begin(home: Path, with_parent: bool, key_file: Path | None, log_json: bool) -> None:
    """Log to standard error; with a parent, stop when its end of our standard input closes."""
    if not home.is_dir():
        raise ConfigError(f"{home}: no such folder; name the node's home")
    log_to(json_lines=True if log_json else None, debug=state.debug)
    joining.use_key_file(key_file)
    if with_parent:
        follow_parent()
