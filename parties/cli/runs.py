"""``entente run``: what an admin asks the coordinator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.console import correlation, money, say, table
from parties.errors import ConfigError

if TYPE_CHECKING:
    from parties.client import Client, RunView

__all__ = ["Coordinator", "Credentials", "app", "connect", "run_cancel", "run_list", "run_show"]

app = typer.Typer(help="Look at runs, or stop one.", no_args_is_help=True)

Coordinator = Annotated[
    str,
    typer.Option(
        "--coordinator",
        metavar="HOST:PORT",
        envvar="ENTENTE_COORDINATOR",
        help="Address; by default the one in the roster.",
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials",
        metavar="DIR",
        envvar="ENTENTE_CREDENTIALS",
        help="Folder with the admin's keys/ and roster.json.",
    ),
]
Run = Annotated[str, typer.Argument(help="Run id, or its first characters.")]


def connect(coordinator: str, credentials: Path | None) -> Client:
    """A client of the coordinator, as the admin."""
    from parties.client import Client

    if credentials is None:
        raise ConfigError("name the admin's folder with --credentials DIR, or in ENTENTE_CREDENTIALS")
    return Client(coordinator, credentials)


@app.command("list")
def run_list(
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, newest first.")] = 20,
) -> None:
    """List runs, newest first."""
    with connect(coordinator, credentials) as client:
        runs = client.runs(limit=limit)
    if not runs:
        say("No run has been proposed yet.")
        return
    table(
        "",
        ("run", "proposed (UTC)", "status", "consortium", ">joint IC", ">common", "waiting for / reason"),
        (
            (
                run.run_id[:12],
                f"{run.proposed_at:%Y-%m-%d %H:%M}",
                run.status,
                run.consortium,
                correlation(run.ic_joint),
                "-" if run.n_common is None else run.n_common,
                run.reason or ", ".join(run.waiting_for),
            )
            for run in runs
        ),
    )


@app.command("show")
def run_show(run: Run, coordinator: Coordinator = "", credentials: Credentials = None) -> None:
    """Show one run: phases, quality, contributions, openings."""
    with connect(coordinator, credentials) as client:
        view = client.run(_full_id(client, run))
    say(f"Run {view.run_id}", f"{view.consortium}: {view.purpose}" if view.purpose else view.consortium)
    say(f"Status: {view.status}" + (f" ({view.reason})" if view.reason else ""))
    table(
        "",
        ("phase", "status", ">seconds", "finished"),
        (
            (
                phase.name,
                phase.status,
                "-" if phase.seconds is None else f"{phase.seconds:.1f}",
                ", ".join(phase.finished),
            )
            for phase in view.phases
        ),
    )
    _show_results(view)


def _show_results(view: RunView) -> None:
    if view.evaluation is not None:
        numbers = view.evaluation
        t = "-" if numbers.t_joint is None else f"{numbers.t_joint:.2f}"
        say(
            f"Rank IC out of sample over {numbers.n_periods} periods: joint {correlation(numbers.ic_joint)} (t {t}), "
            f"label party alone {correlation(numbers.ic_own)}, uplift {correlation(numbers.uplift)}"
        )
    if view.contributions:
        table(
            f"Contributions ({view.contribution_way})",
            ("party", ">Shapley", ">reward"),
            (
                (c.party, correlation(c.shapley), money(c.reward, view.scale, view.unit or "units"))
                for c in view.contributions
            ),
        )
    if view.openings:
        table("Openings", ("party", ">limit", ">most used"), ((o.party, o.limit, o.max_used) for o in view.openings))


@app.command("cancel")
def run_cancel(
    run: Run,
    why: Annotated[str, typer.Option("--why", help="The reason every party reads.")] = "cancelled by the admin",
    coordinator: Coordinator = "",
    credentials: Credentials = None,
) -> None:
    """Stop a run for everyone."""
    with connect(coordinator, credentials) as client:
        run_id = _full_id(client, run)
        if client.run(run_id).ended:
            say(f"Run {run_id[:12]} has ended already; nothing was changed.")
            return
        client.cancel(run_id, why)
    say(f"Run {run_id[:12]} is cancelled.")


def _full_id(client: Client, start: str) -> str:
    """The one run whose id begins like this."""
    found = [view.run_id for view in client.runs(limit=1000) if view.run_id.startswith(start)]
    if not found:
        raise ConfigError(f"no run begins with {start!r}: list the runs for their ids")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} runs begin with {start!r}: give more characters of the id")
    return found[0]
