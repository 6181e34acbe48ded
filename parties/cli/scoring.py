"""``entente run score``: score the periods after a finished run's calendar, once or whenever one is due."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.factors import write_file
from parties.cli.joining import duration
from parties.cli.runs import Coordinator, Credentials, Run, connect, full_id
from parties.errors import AgreementError, ConfigError, PeerError, RunAborted
from parties.terminal.console import pasted, say

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.client import Client, RunView
    from parties.proposing.drafting import Node

__all__ = ["run_score"]

_POLL_SECONDS = 0.3


def run_score(
    run: Run,
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    period: Annotated[
        str, typer.Option("--period", metavar="P", help="This period alone; by default the first ones that are due.")
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on: score each period once it is due and everybody's data is complete.")
    ] = False,
    every: Annotated[str, typer.Option("--every", help="With --watch: how often to look, such as 15m or 1h.")] = "15m",
    valid: Annotated[str, typer.Option("--valid", help="How long nodes that are away may take to sign.")] = "1h",
    advice: Annotated[
        Path | None,
        typer.Option(
            "--advice", metavar="FILE", help="What entente factors monitor --out wrote: is it to be retrained?"
        ),
    ] = None,
) -> None:
    """Score new periods of a finished sealed run under the weights that its parties kept.

    Nodes sign by themselves, for the run's agreement allowed it. Each period is scored once.
    """
    from parties.agreement.document import Agreement

    if watch and period:
        raise ConfigError("--watch scores every period that is due: name no --period beside it")
    pause = duration(every).total_seconds()
    with connect(coordinator, credentials) as client:
        assert credentials is not None
        view = client.run(full_id(client, run))
        trained = Agreement.model_validate(view.agreement)
        if view.status != "settled":
            raise ConfigError(f"run {view.run_id[:12]} is {view.status}: a run is scored once it is settled")
        if trained.scores is not None:
            raise ConfigError(f"this run scored periods of run {trained.scores.of[:12]}: name that one")
        _check_kind(trained)
        _say_advice(trained, advice, credentials)
        if not watch:
            _score(client, trained, _nodes(client, credentials), period or _due(client, trained)[0], valid)
        while watch:
            _look(client, trained, credentials, valid)
            time.sleep(pause)


def _nodes(client: Client, credentials: Path) -> dict[str, Node]:
    from parties.members.roster import Roster
    from parties.names import COORDINATOR

    roster = Roster.load(credentials / "roster.json")
    return {COORDINATOR: roster.member(COORDINATOR), **{party.name: party for party in client.parties()}}


def _look(client: Client, trained: Agreement, credentials: Path, valid: str) -> None:
    """What is due is scored; a coordinator that is away is asked again the next time."""
    from parties.client import CoordinatorAway

    try:
        _score_due(client, trained, _nodes(client, credentials), valid)
    except CoordinatorAway as away:
        say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {away}; it is asked again in the next look")


def _check_kind(trained: Agreement) -> None:
    if trained.model.kind != "sealed" or trained.calendar is None:
        raise ConfigError(
            f"daily use is of sealed networks over a calendar, and this run is of kind {trained.model.kind!r}"
            f'{"" if trained.calendar else " on static data"}: propose one with model.kind = "sealed" and [daily]'
        )


def _due(client: Client, trained: Agreement) -> tuple[str, ...]:
    from parties.proposing.scoring import due_periods

    daily = client.run(trained.run_id).daily
    return due_periods(trained, () if daily is None else daily.taken, datetime.now(UTC))


def _score_due(client: Client, trained: Agreement, nodes: dict[str, Node], valid: str) -> None:
    """One session for each period that is due. What stands in the way of one, such as late data, stops no other.

    Raises :class:`AgreementError` where none will ever be due again.
    """
    try:
        due = _due(client, trained)
    except AgreementError as error:
        daily = client.run(trained.run_id).daily
        if daily is None or daily.ended:
            raise
        say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {error}")
        return
    for period in due:
        try:
            _score(client, trained, nodes, period, valid)
        except (AgreementError, RunAborted, PeerError) as error:
            say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {error}")


def _score(client: Client, trained: Agreement, nodes: dict[str, Node], period: str, valid: str) -> None:
    """One session: proposed, signed, scored. Raises what stands in its way; a coordinator that goes away does not."""
    from parties.proposing.scoring import scoring_of
    from parties.terminal.progress import answered

    def view_of(run_id: str) -> RunView:
        return answered(lambda: client.run(run_id), say, lambda: time.sleep(_POLL_SECONDS))

    agreement = scoring_of(trained, nodes, datetime.now(UTC), duration(valid), period)
    began = time.monotonic()
    run_id = client.propose(agreement)
    say(f"Scoring {period} as run {run_id[:12]}")
    while not (view := view_of(run_id)).ended:
        time.sleep(_POLL_SECONDS)
    if view.status != "settled":
        raise RunAborted(f"{period} is not scored: {view.reason or 'the session has ended'}")
    daily = view_of(trained.run_id).daily
    assert daily is not None
    say(
        f"{period} is scored in {time.monotonic() - began:.1f} s; {len(daily.scored)} of {daily.agreed} agreed "
        f"periods, until {daily.expires}.",
        f"The records lie at {agreement.label.party}'s node, and at those of recipients, in live/.",
    )


def _say_advice(trained: Agreement, path: Path | None, credentials: Path) -> None:
    """Where monitoring advises to train anew and that was agreed: the successor's terms in a file, and the command."""
    import json

    from parties.proposing.scoring import successor_terms
    from parties.settings.toml_text import to_toml

    if path is None:
        return
    try:
        said = json.loads(path.read_bytes())
        action, reasons = str(said["advice"]), [str(one) for one in said.get("reasons", ())]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path}: not what entente factors monitor --out writes; name its file") from None
    say(f"Advice: {action}.", *reasons)
    if action != "retrain" or trained.daily is None:
        return
    if trained.daily.retrain == "never":
        say("The agreement did not agree to train anew on advice (daily.retrain): nothing is proposed.")
        return
    file = Path(f"successor-{trained.run_id[:12]}.toml")
    write_file(file, to_toml(successor_terms(trained, datetime.now(UTC))).encode())
    say(
        f"{file} has the run's terms, over a calendar that ends with the last period that is over. Propose it:",
        f"  entente run propose {pasted(file)} --credentials {pasted(credentials)}",
    )
