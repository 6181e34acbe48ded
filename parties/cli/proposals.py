"""``entente run propose|review|approve|reject|watch``: from terms in a file to signatures, and the run that follows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.agreement_shown import show_agreement, show_all_to_sign, show_in_short, show_width_and_passes
from parties.cli.joining import duration
from parties.cli.review_shown import show_cost, show_review
from parties.cli.runs import Coordinator, Credentials, OrHome, Run, app, connect, full_id, proposed_run, reading
from parties.errors import ConfigError, PeerError, RunAborted, StorageError
from parties.terminal.console import complain, pasted, say, screen

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.client import Client, PartyView
    from parties.proposing.drafting import Node
    from parties.settings.consortium import ConsortiumSettings

__all__ = ["names_in", "offered", "put", "run_approve", "run_propose", "run_reject", "run_review", "run_watch"]

Home = Annotated[Path, typer.Option("--home", help="Folder of this party's node.")]
As = Annotated[str, typer.Option("--as", metavar="NAME", help="Who decides; by default the user of this system.")]

_POLL_SECONDS = 0.5
_FIRST_ANSWERS_SECONDS = 3.0


@app.command("propose")
def run_propose(
    file: Annotated[
        Path | None, typer.Argument(help="The terms: a consortium.toml, or one without queries. None with --placebo.")
    ] = None,
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    valid: Annotated[str, typer.Option("--valid", help="How long it can be signed, such as 8h or 2d.")] = "1d",
    wait: Annotated[
        float, typer.Option("--wait", min=0, max=3600, help="Seconds to wait for nodes that are still to start.")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    only: Annotated[
        str, typer.Option("--only", metavar="NAME,NAME", help="A retrain run of these feature parties alone.")
    ] = "",
    without: Annotated[
        str, typer.Option("--without", metavar="NAME,NAME", help="A retrain run of all but these.")
    ] = "",
    limit_per_row: Annotated[
        int | None,
        typer.Option("--limit-per-row", min=1, help="Retrain or placebo run: openings of a row, all runs together."),
    ] = None,
    largest_fraction: Annotated[
        float | None, typer.Option("--largest-fraction", help="Retrain run: share of a row's features, for the file's.")
    ] = None,
    single_party: Annotated[
        bool, typer.Option("--single-party", help="Retrain run of one: ask that party to let its own sums be opened.")
    ] = False,
    placebo: Annotated[
        str,
        typer.Option(
            "--placebo", metavar="RUN", help="Run RUN again with the feature parties' rows given to other entities."
        ),
    ] = "",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Placebo: of the public permutation; by default drawn.")
    ] = None,
) -> None:
    """Put a run before its parties. Roles and columns are as each party's node offers them.

    With --only or --without it is a retrain run: the same terms for a coalition, which pays nothing and is there to be
    compared by entente contribution retrain. With --placebo it is the placebo of a run that has finished.
    """
    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.proposing.drafting import agreement_of, coalition_of

    if (file is None) != bool(placebo) or (placebo and (only or without or largest_fraction or single_party)):
        raise ConfigError("name a file of terms, or --placebo RUN alone, with --limit-per-row and --seed if you like")
    if seed is not None and not placebo:
        raise ConfigError("--seed is that of a placebo's permutation: a model's seed stands in FILE")
    if file is None:
        _propose_placebo(coordinator, credentials, placebo, duration(valid), seed, limit_per_row, yes=yes)
        return

    with connect(coordinator, credentials) as client:
        assert credentials is not None
        views, settings = offered(client, file, wait)
        nodes: dict[str, Node] = {COORDINATOR: Roster.load(credentials / "roster.json").member(COORDINATOR), **views}
        coalition = ""
        if only or without:
            settings = coalition_of(
                settings,
                only=names_in(only),
                without=names_in(without),
                limit_per_row=limit_per_row,
                largest_fraction=largest_fraction,
                single_party=single_party,
            )
            coalition = "+".join(party.name for party in settings.party if party.role == "feature")
        elif single_party or limit_per_row is not None or largest_fraction is not None:
            raise ConfigError(
                "opening limits on the command line are for --only and --without: else they stand in FILE"
            )
        agreement = agreement_of(settings, nodes, datetime.now(UTC), duration(valid), coalition)
        put(client, agreement, credentials, yes=yes)


def _propose_placebo(
    coordinator: str,
    credentials: Path | None,
    run: str,
    validity: timedelta,
    seed: int | None,
    limit_per_row: int | None,
    *,
    yes: bool,
) -> None:
    """The placebo of a finished run, from the terms that the coordinator has of it; nodes hold it to their own copy."""
    from parties.agreement.document import Agreement
    from parties.members.roster import Roster
    from parties.names import COORDINATOR
    from parties.proposing.placebo import placebo_of

    with connect(coordinator, credentials) as client:
        assert credentials is not None
        view = client.run(full_id(client, run))
        if view.status != "settled":
            raise ConfigError(f"run {view.run_id[:12]} is {view.status}: a placebo tests a run that has finished")
        nodes: dict[str, Node] = {COORDINATOR: Roster.load(credentials / "roster.json").member(COORDINATOR)}
        nodes |= {member.name: member for member in client.parties()}
        agreement = placebo_of(
            Agreement.model_validate(view.agreement),
            nodes,
            datetime.now(UTC),
            validity,
            seed=seed,
            limit_per_row=limit_per_row,
        )
        put(client, agreement, credentials, yes=yes)


def put(
    client: Client, agreement: Agreement, credentials: Path, *, yes: bool, question: str = "Propose this run?"
) -> None:
    """Show what signing means, ask, and propose. Raises :class:`AgreementError` for terms that no run could keep."""
    from parties.agreement.arithmetic import check_arithmetic, check_openings

    check_arithmetic(agreement)
    check_openings(agreement)
    show_agreement(agreement)
    show_width_and_passes(agreement)
    if not yes and not typer.confirm(question, default=False):
        say("Nothing was proposed.")
        return
    run_id = client.propose(agreement)
    say(f"Proposed run {run_id}")
    try:
        _say_first_answers(client, run_id)
    except PeerError as error:  # the run stands: a command that failed would have it proposed again
        complain(f"The run is proposed, but what nodes answer at once was not heard: {error}")
    say(f"Follow it: entente run watch {run_id[:12]} --credentials {pasted(credentials)}")


def _say_first_answers(client: Client, run_id: str) -> None:
    """What nodes answer at once: they check the terms against their own data before anybody is asked.

    Raises :class:`RunAborted` where one of them refuses.
    """
    deadline = time.monotonic() + _FIRST_ANSWERS_SECONDS
    while True:
        view = client.run(run_id)
        if view.ended and view.status != "settled":
            raise RunAborted(view.reason or "the run has ended")
        if not view.waiting_for or view.status != "proposed" or time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    if view.status == "proposed" and view.waiting_for:
        say(f"Nobody has refused so far; not signed yet: {', '.join(view.waiting_for)}")


def names_in(text: str) -> tuple[str, ...]:
    """Names between commas, none where the option was not given."""
    names = tuple(name.strip() for name in text.split(","))
    if text and not all(names):
        raise ConfigError(f"{text!r} is no list of names: write them like satellite,social")
    return names if text else ()


def offered(client: Client, file: Path, wait: float) -> tuple[dict[str, PartyView], ConsortiumSettings]:
    """The members, and the terms of ``file`` with what they offer, once every party named there has said what."""
    from parties.proposing.drafting import load_proposal

    deadline = time.monotonic() + wait
    while True:
        views = {view.name: view for view in client.parties()}
        try:
            return views, load_proposal(file, views)
        except ConfigError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


@app.command("review")
def run_review(
    run: Run,
    home: Home,
    preflight: Annotated[
        bool, typer.Option("--preflight/--no-preflight", help="Measure what the run would cost this machine.")
    ] = True,
) -> None:
    """Read what a proposed run would reveal to whom, and what it would cost, before you sign. Nothing leaves here."""
    from parties.node.decisions import decisions, waiting_for
    from parties.node.settings import load_node_settings

    folder = proposed_run(home, run)
    settings = load_node_settings(home / "node.toml")
    agreement = _agreement(folder)
    show_review(agreement, settings, home)
    if preflight:
        show_cost(agreement, settings, home)
    for made in decisions(folder):
        say(f"{made.by}: {made.decision} at {made.at:%Y-%m-%d %H:%M} UTC" + (f" ({made.why})" if made.why else ""))
    missing = waiting_for(folder, settings)
    if not missing:
        say("Decided on; nothing is left to do here.")
        return
    say(
        f"Approvals missing: {missing}. Decide:",
        f"  entente run approve {folder.name[:12]} --home {pasted(home)}",
        f"  entente run reject {folder.name[:12]} --why TEXT --home {pasted(home)}",
    )


@app.command("approve")
def run_approve(
    run: Run, home: Home, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, by: As = ""
) -> None:
    """Approve a proposed run. The node signs once as many people as it needs have approved.

    It shows all terms and asks; with --yes it shows what is signed in short, and what is not as it was before.
    """
    from parties.node.decisions import decide, waiting_for
    from parties.node.settings import load_node_settings

    folder = proposed_run(home, run)
    settings = load_node_settings(home / "node.toml")
    agreement = _agreement(folder)
    _refuse_ended(folder, agreement)
    (show_in_short if yes else show_all_to_sign)(agreement, settings, home)
    if not yes and not typer.confirm("Sign this agreement?", default=False):
        say("Nothing was decided: the run waits. Refuse it for good with entente run reject.")
        return
    _, outcome = decide(folder, settings, "approve", by=by)
    if outcome is None:
        say(f"Run {folder.name[:12]}: {waiting_for(folder, settings)} more must approve before the node signs.")
    else:
        say(f"Run {folder.name[:12]} is approved; the node signs it now.")


@app.command("reject")
def run_reject(
    run: Run,
    home: Home,
    why: Annotated[str, typer.Option("--why", help="The reason, which every party reads.")],
    by: As = "",
) -> None:
    """Refuse a proposed run for good."""
    from parties.node.decisions import decide
    from parties.node.settings import load_node_settings

    folder = proposed_run(home, run)
    if not why.strip():
        raise ConfigError("say why with --why TEXT: the other parties read it")
    _refuse_ended(folder, _agreement(folder))
    decide(folder, load_node_settings(home / "node.toml"), "reject", by=by, why=why)
    say(f"Run {folder.name[:12]} is rejected.")


def _refuse_ended(folder: Path, agreement: Agreement) -> None:
    """Nothing is decided on a run that is over."""
    from parties.node.run_ends import kept_end

    end = kept_end(folder)
    if end is not None:
        why = f"{end.status}, {end.reason}" if end.reason else end.status
        raise RunAborted(f"run {folder.name[:12]} has ended: {why}; nothing was decided")
    if datetime.now(UTC) >= agreement.expires_at:
        raise RunAborted(
            f"run {folder.name[:12]} could be signed until {agreement.expires_at:%Y-%m-%d %H:%M} UTC; "
            "nothing was decided: ask the admin to propose it again"
        )


@app.command("watch")
def run_watch(run: Run, coordinator: Coordinator = "", credentials: Credentials = None, home: OrHome = None) -> None:
    """Follow a run to its end: phases, rows, speed, openings. Ends with exit code 6 if the run is aborted.

    A coordinator that goes away is waited for.
    """
    from parties.terminal.progress import followed, watcher

    with reading(coordinator, credentials, home) as client, watcher(screen()) as shown:
        run_id = full_id(client, run)
        view = followed(lambda: client.run(run_id), shown, pause=lambda: time.sleep(_POLL_SECONDS))
    if view.status != "settled":
        raise RunAborted(view.reason or "the run has ended")
    way = f"--credentials {pasted(credentials)}" if home is None else f"--home {pasted(home)}"
    say(f"Run {run_id[:12]} is settled. Look at it: entente run show {run_id[:12]} {way}")


def _agreement(folder: Path) -> Agreement:
    from parties.agreement.document import Agreement

    try:
        return Agreement.model_validate_json((folder / "agreement.json").read_bytes())
    except (OSError, ValueError):
        raise StorageError(f"{folder / 'agreement.json'}: damaged; start the node again and it is asked anew") from None
