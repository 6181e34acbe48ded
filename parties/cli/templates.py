"""``entente run template``: a file of terms to start from, for the members as they are."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from parties.cli.agreement_shown import show_width_and_passes
from parties.cli.runs import Coordinator, Credentials, connect
from parties.errors import ConfigError, StorageError
from parties.private_files import write_new
from parties.proposing.template import Kind
from parties.terminal.console import pasted, say

__all__ = ["run_template"]


def run_template(
    file: Annotated[Path, typer.Argument(help="The new file of terms.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="A day of the first period.")],
    last: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="A day of the last period.")],
    frequency: Annotated[str, typer.Option("--frequency", help="Q, M, W-FRI, B, D, or an exchange's code.")] = "W-FRI",
    kind: Annotated[Kind, typer.Option("--kind", help="Of model.")] = "sealed",
    without: Annotated[
        str, typer.Option("--without", metavar="NAME,NAME", help="Members to leave out, such as one that is away.")
    ] = "",
    coordinator: Coordinator = "",
    credentials: Credentials = None,
) -> None:
    """Write terms that can be proposed as they are, with a comment on all that most runs change."""
    from datetime import UTC, timedelta

    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.proposing.drafting import Node, agreement_of, load_proposal
    from parties.proposing.template import terms_template

    with connect(coordinator, credentials) as client:
        members = {member.name: member for member in client.parties()}
        name = client.coordinator().name
    left_out = [one.strip() for one in without.split(",") if one.strip()]
    dates = (first.date(), last.date())
    text = terms_template(name, list(members.values()), kind, frequency, *dates, without=left_out)
    try:
        write_new(file, text.encode())
    except FileExistsError:
        raise ConfigError(f"{file}: is there already; name a new file") from None
    except OSError as error:
        raise StorageError(f"{file}: cannot be written ({error.strerror}); check the folder and the disk") from None
    try:
        settings = load_proposal(file, members)
    except ConfigError:
        file.unlink()  # nothing half made: a second try names the same file
        raise
    assert credentials is not None
    nodes: dict[str, Node] = {COORDINATOR: Roster.load(credentials / "roster.json").member(COORDINATOR), **members}
    try:
        show_width_and_passes(agreement_of(settings, nodes, datetime.now(UTC), timedelta(days=1)))
    except ConfigError as error:
        say(f"To mend before it can be proposed: {error}")
    say(
        f"{file}: terms for {', '.join(party.name for party in settings.party)}. Read them, then",
        f"  entente run propose {pasted(file)} --credentials {pasted(credentials)}",
    )
