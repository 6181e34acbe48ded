"""``entente run``: what an admin, or a party of a run, asks the coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import AgreementError, ConfigError
from parties.plurals import things
from parties.terminal.console import correlation, figure, money, pasted, say, table, tell
from parties.terminal.rounds import show_rounds

if TYPE_CHECKING:
    from parties.calls.views import StaticView
    from parties.client import Client, RunView

__all__ = [
    "Coordinator",
    "Credentials",
    "app",
    "connect",
    "full_id",
    "party_of",
    "proposed_run",
    "reading",
    "run_cancel",
    "run_list",
    "run_pause",
    "run_resume",
    "run_show",
    "run_waiting",
]

app = typer.Typer(cls=HelpGroup, help="Propose, decide on, follow and stop runs.", no_args_is_help=True)

_PAGE = 1000
"""Runs that the coordinator tells at a time."""

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
OrHome = Annotated[Path | None, typer.Option("--home", help="Or as a party of the run: its node's folder.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Run = Annotated[str, typer.Argument(help="Run id, or its first characters.")]


def connect(coordinator: str, credentials: Path | None) -> Client:
    """A client of the coordinator, as the admin."""
    from parties.client import Client
    from parties.joining.succession import adopt_successor

    if credentials is None:
        raise ConfigError("name the admin's folder with --credentials DIR, or in ENTENTE_CREDENTIALS")
    client = Client(coordinator, credentials)
    try:
        client.coordinator()
    except ConfigError:
        client.close()
        if not adopt_successor(credentials, coordinator):
            raise
        return Client(coordinator, credentials)
    return client


@contextmanager
def reading(coordinator: str, credentials: Path | None, home: Path | None) -> Iterator[Client]:
    """A client that reads: as the admin, or as the party whose node is in ``home``, of its own runs."""
    from parties.client import Client

    if home is None:
        with connect(coordinator, credentials) as client:
            yield client
        return
    with Client(coordinator, home, name=party_of(home)) as client:
        yield client


def party_of(home: Path) -> str:
    """The party whose node is in ``home``."""
    from parties.node.settings import load_node_settings

    if not (home / "node.toml").is_file():
        raise ConfigError(f"{home}: is no node's folder, for it has no node.toml; name the folder of your node")
    return load_node_settings(home / "node.toml").party.name


@app.command("list")
def run_list(
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    home: OrHome = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, newest first.")] = 20,
) -> None:
    """List runs, newest first; with --home those that this party has part in."""
    with reading(coordinator, credentials, home) as client:
        runs = client.runs(limit=limit)
    if not runs:
        say("No run has been proposed yet.")
        return
    table(
        "",
        ("run", "proposed (UTC)", "status", ">joint IC", ">common", "waiting for / reason"),
        (
            (
                run.run_id[:12],
                f"{run.proposed_at:%Y-%m-%d %H:%M}",
                run.status,
                correlation(run.ic_joint),
                "-" if run.n_common is None else run.n_common,
                run.reason or ", ".join((*(f"paused by {pause.by}" for pause in run.pauses), *run.waiting_for)),
            )
            for run in runs
        ),
    )


@app.command("waiting")
def run_waiting(home: Annotated[Path, typer.Option("--home", help="Folder of this party's node.")]) -> None:
    """List what this party's node was asked to sign: first what waits for a person. It needs no connection."""
    from parties.node.asked_runs import asked_runs

    party_of(home)
    asked = asked_runs(home)
    if not asked:
        say("No run has been proposed to this node yet.")
        return
    table(
        "",
        ("run", "asked (UTC)", "here", "purpose", "reason"),
        ((one.run_id[:12], f"{one.at:%Y-%m-%d %H:%M}", one.status, one.purpose or "-", one.reason) for one in asked),
    )
    first = next((one for one in asked if one.status == "waits for you"), None)
    if first is not None:
        say(f"Read it: entente run review {first.run_id[:12]} --home {pasted(home)}")


@app.command("show")
def run_show(run: Run, coordinator: Coordinator = "", credentials: Credentials = None, home: OrHome = None) -> None:
    """Show one run: phases, quality, contributions, openings; of a federated run, and of groups, the rounds."""
    with reading(coordinator, credentials, home) as client:
        view = client.run(full_id(client, run))
    say(f"Run {view.run_id}", f"{view.consortium}: {view.purpose}" if view.purpose else view.consortium)
    say(f"Status: {view.status}" + (f" ({view.reason})" if view.reason else ""), *_waits(view))
    if view.relayed:
        pairs = (f"{one.sender} to {one.receiver} {_size(one.bytes)}" for one in view.relayed)
        tell(f"Led through the coordinator, encrypted between the two: {', '.join(pairs)}")
    table(
        "",
        ("phase", "status", ">seconds", "finished"),
        (
            (
                phase.name,
                phase.status + (f", {things(phase.attempt, 'attempts')}" if phase.attempt > 1 else ""),
                "-" if phase.seconds is None else f"{phase.seconds:.1f}",
                ", ".join(phase.finished),
            )
            for phase in view.phases
        ),
    )
    for found in (view.federated, *view.groups):
        show_rounds(found)
    _show_results(view)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _waits(view: RunView) -> Iterator[str]:
    """What keeps a run from going on."""
    for pause in view.pauses:
        yield f"Paused by {pause.by} at {pause.at:%Y-%m-%d %H:%M} UTC" + (f": {pause.why}" if pause.why else "")
    if view.stopping:
        yield f"It stops at the next boundary of {view.phase}."
    if view.waiting_for:
        yield f"Waiting for: {', '.join(view.waiting_for)}"


def _show_results(view: RunView) -> None:
    if view.evaluation is not None and view.evaluation.static is not None:
        _show_measures(view.evaluation.static)
    elif view.evaluation is not None:
        numbers = view.evaluation
        t = "-" if numbers.t_joint is None else f"{numbers.t_joint:.2f}"
        beside = ""
        if numbers.ic_own is not None:
            alone = "label party alone" if view.federated is None else "members alone"
            beside = f", {alone} {correlation(numbers.ic_own)}, uplift {correlation(numbers.uplift)}"
        joint = f"joint {correlation(numbers.ic_joint)} (t {t})"
        say(f"Rank IC out of sample over {things(numbers.n_periods, 'periods')}: {joint}{beside}")
    if view.contributions:
        table(
            f"Contributions ({view.contribution_way})",
            ("party", ">Shapley", ">reward at close"),
            (
                (
                    c.party,
                    correlation(c.shapley),
                    money(c.reward, view.scale, view.unit or "units") if view.status == "settled" else "-",
                )
                for c in view.contributions
            ),
        )
    if view.openings:
        table("Openings", ("party", ">limit", ">most used"), ((o.party, o.limit, o.max_used) for o in view.openings))


def _show_measures(found: StaticView) -> None:
    """What static data has in place of ICs."""
    names = list(found.measures.get("joint", {}))
    table(
        f"On {things(found.rows, 'test rows')}, whose labels entered nothing",
        ("model", *(f">{name.replace('_', ' ')}" for name in names)),
        (
            ("joint" if model == "joint" else "label party alone", *(figure(by.get(name), ".4f") for name in names))
            for model, by in found.measures.items()
        ),
    )


@app.command("cancel")
def run_cancel(
    run: Run,
    why: Annotated[str, typer.Option("--why", help="The reason every party reads.")] = "",
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    home: OrHome = None,
    yes: Yes = False,
) -> None:
    """Stop a run for everyone, as the admin or as a party of it."""
    with _asker(run, coordinator, credentials, home) as (client, run_id, _):
        view = client.run(run_id)
        if view.ended:
            why_ended = f" ({view.reason})" if view.reason else ""
            say(f"Run {run_id[:12]} has ended already: {view.status}{why_ended}. Nothing was changed.")
            return
        if not yes and not typer.confirm(f"Stop run {run_id[:12]} ({view.status}) for everyone, for good?"):
            say("Nothing was changed.")
            return
        client.cancel(run_id, why or "no reason was given")
    say(f"Run {run_id[:12]} is cancelled.")


@app.command("pause")
def run_pause(
    run: Run,
    why: Annotated[str, typer.Option("--why", help="The reason every party reads.")] = "",
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    home: OrHome = None,
) -> None:
    """Hold a run, as the admin or as a party of it. Training stops behind a record all have; other phases end first."""
    with _asker(run, coordinator, credentials, home) as (client, run_id, name):
        client.pause(run_id, why or f"paused by {name}")
    say(
        f"Run {run_id[:12]} is paused. It goes on when {name} says so: entente run resume {run_id[:12]} "
        + (f"--home {pasted(home)}" if home is not None else f"--credentials {pasted(credentials)}")
    )


@app.command("resume")
def run_resume(run: Run, coordinator: Coordinator = "", credentials: Credentials = None, home: OrHome = None) -> None:
    """Take back a pause: a party its own, the admin everyone's. The run goes on when nobody holds it."""
    with _asker(run, coordinator, credentials, home) as (client, run_id, name):
        client.resume(run_id)
    say(f"Run {run_id[:12]}: {name} does not hold it any more.")


@contextmanager
def _asker(
    run: str, coordinator: str, credentials: Path | None, home: Path | None
) -> Iterator[tuple[Client, str, str]]:
    """Who asks: the admin, or the party whose node is in ``home``. The client, the run's whole id, and the name."""
    from parties.client import ADMIN

    with reading(coordinator, credentials, home) as client:
        yield client, full_id(client, run), ADMIN if home is None else party_of(home)


def full_id(client: Client, start: str) -> str:
    """The one run whose id begins like this."""
    ids = list[str]()
    while len(ids) % _PAGE == 0 and (page := client.runs(limit=_PAGE, offset=len(ids))):
        ids += [view.run_id for view in page]
    found = [run_id for run_id in ids if run_id.startswith(start)]
    if not found:
        raise ConfigError(f"no run begins with {start!r}: list the runs for their ids")
    if len(found) > 1:
        raise ConfigError(f"{things(len(found), 'runs')} begin with {start!r}: give more characters of the id")
    return found[0]


def proposed_run(home: Path, start: str) -> Path:
    """The folder of the run proposed to the node in ``home`` whose id begins like this.

    Raises :class:`AgreementError` for one that this node's own checks refused.
    """
    from parties.node.run_ends import kept_end

    party_of(home)
    folders = [path for path in (home / "runs").glob("*/") if path.name.startswith(start)]
    found = sorted(path for path in folders if (path / "agreement.json").is_file())
    if not found:
        for folder in folders:
            end = kept_end(folder)
            if end is not None:
                said = "this node refused it" if end.status == "refused" else "it has ended"
                raise AgreementError(f"run {folder.name[:12]} does not wait: {said}: {end.reason}")
        raise ConfigError(
            f"{home}: no run begins with {start!r}; entente run waiting --home {pasted(home)} names those that wait"
        )
    if len(found) > 1:
        raise ConfigError(f"{home}: {things(len(found), 'runs')} begin with {start!r}; give more characters of the id")
    return found[0]
