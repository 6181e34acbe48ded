"""``entente run continue``: a new agreement for those who stay when a party is gone for good."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parties.cli.joining import duration
from parties.cli.proposals import names_in, put
from parties.cli.runs import Coordinator, Credentials, Run, connect, full_id
from parties.errors import ConfigError

if TYPE_CHECKING:
    from parties.client import RunView
    from parties.proposing.drafting import Node

__all__ = ["run_continue"]


def run_continue(
    run: Run,
    without: Annotated[str, typer.Option("--without", metavar="NAME,NAME", help="Who is gone for good.")],
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    rows: Annotated[
        Literal["kept", "fresh"],
        typer.Option("--rows", help="kept: those all had in common; fresh: aligned anew, which tells more."),
    ] = "kept",
    limit_per_row: Annotated[
        int | None, typer.Option("--limit-per-row", min=1, help="Openings of a row, those of the earlier run included.")
    ] = None,
    largest_fraction: Annotated[
        float | None, typer.Option("--largest-fraction", help="Share of a row's features that may be shown.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes, where openings are few.")] = None,
    single_party: Annotated[
        bool, typer.Option("--single-party", help="Ask a feature party that is left alone to let its sums be opened.")
    ] = False,
    valid: Annotated[str, typer.Option("--valid", help="How long it can be signed, such as 8h or 2d.")] = "1d",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Propose that the others go on without a party. Once all of them have signed, the earlier run ends, unpaid.

    Kept are the rows that all had in common and the count of openings; training begins anew.
    """
    from parties.agreement.document import Agreement
    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.proposing.continuing import continued_without

    with connect(coordinator, credentials) as client:
        assert credentials is not None
        view = client.run(full_id(client, run))
        if view.status == "settled":
            raise ConfigError(f"run {view.run_id[:12]} is settled: there is nothing to go on from")
        if rows == "kept" and not _done(view, "align"):
            raise ConfigError(f"run {view.run_id[:12]} ended before its rows were found: go on with --rows fresh")
        hub: dict[str, Node] = {COORDINATOR: Roster.load(credentials / "roster.json").member(COORDINATOR)}
        agreement = continued_without(
            Agreement.model_validate(view.agreement),
            names_in(without),
            hub | {party.name: party for party in client.parties()},
            datetime.now(UTC),
            duration(valid),
            began=_done(view, "align"),
            rows=rows,
            limit_per_row=limit_per_row,
            largest_fraction=largest_fraction,
            epochs=epochs,
            single_party=single_party,
        )
        put(client, agreement, credentials, yes=yes, question="Propose to go on like this?")


def _done(view: RunView, phase: str) -> bool:
    return any(item.name == phase and item.status == "done" for item in view.phases)
