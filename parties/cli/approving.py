"""``entente settle approve|refuse|waiting|live|attest``: what a person or a party's node signs of a settlement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.dossiers import advance, now, own_keys, read_live, show_dossier
from parties.cli.settling import Credentials, app
from parties.errors import ConfigError, StorageError
from parties.plurals import things
from parties.private_files import write_whole
from parties.terminal.console import correlation, figure, pasted, say, table, tell

if TYPE_CHECKING:
    from parties.node.home import NodeHome
    from parties.node.settlements import WaitingSettlement

__all__ = ["settle_approve", "settle_attest", "settle_live", "settle_refuse", "settle_waiting"]

NodeFolder = Annotated[Path, typer.Option("--home", help="Folder of this party's node.")]
Digest = Annotated[str, typer.Argument(help="The settlement's digest, or its first characters.")]
Who = Annotated[str, typer.Option("--as", metavar="NAME", help="Who decides; at a node the user of this system.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("approve")
def settle_approve(
    what: Annotated[str, typer.Argument(metavar="FILE|DIGEST", help="A dossier, or what waits at a party's node.")],
    credentials: Credentials = None,
    name: Annotated[
        str, typer.Option("--as", metavar="NAME", help="Who you are: admin, or at a node the user of this system.")
    ] = "",
    home: Annotated[
        Path | None, typer.Option("--home", help="The coordinator's folder: post when complete. Or the node's folder.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Approve a settlement: at a party's node, which then signs it; or sign a dossier, and post it when complete."""
    if home is not None and (home / "node.toml").is_file():
        _decide_at_node(home, what, name, yes=yes)
        return
    _sign_file(Path(what), credentials, name or "admin", home, yes=yes)


def _sign_file(file: Path, credentials: Path | None, name: str, home: Path | None, *, yes: bool) -> None:
    from parties.settlement.dossier_store import Dossiers

    dossier = Dossiers.load(file)
    show_dossier(dossier)
    if not yes and not typer.confirm("Approve this?", default=False):
        say("Nothing was signed.")
        return
    identity = own_keys(credentials, name)
    signed = dossier.approved_by(name, identity.key, now())
    say(f"Approved as {name}." if signed is not dossier else f"{name} has approved this before.")
    if home is None:
        Dossiers(Path()).save(signed, file)
        say(f"Take {file} to the coordinator: entente settle approve {file} --home DIR posts it.")
        return
    from parties.coordinator.closed_runs import open_ledger

    with open_ledger(home) as ledger:
        advance(home, ledger, signed)


def _decide_at_node(home: Path, what: str, by: str, *, yes: bool) -> None:
    from parties.node.decisions import decide, waiting_for
    from parties.node.settlements import waiting_one

    place = _node(home)
    one = waiting_one(place, what)
    _show(one, place)
    digest = one.asked.dossier.digest
    if not yes and not typer.confirm("Approve this settlement?", default=False):
        say("Nothing was decided: it waits. Refuse it for good with entente settle refuse.")
        return
    _, outcome = decide(one.folder, place.settings, "approve", by=by, what="settlement")
    if outcome is None:
        missing = waiting_for(one.folder, place.settings)
        say(f"Settlement {digest[:12]}: {missing} more must approve before the node signs.")
    else:
        say(f"Settlement {digest[:12]} is approved; the node signs and reports it.")


@app.command("refuse")
def settle_refuse(
    digest: Digest,
    home: NodeFolder,
    why: Annotated[str, typer.Option("--why", help="The reason, which the coordinator and every party read.")],
    by: Who = "",
) -> None:
    """Refuse a settlement that waits at this party's node, for good."""
    from parties.node.decisions import decide
    from parties.node.settlements import waiting_one

    place = _node(home)
    if not why.strip():
        raise ConfigError("say why: --why TEXT")
    one = waiting_one(place, digest)
    decide(one.folder, place.settings, "reject", by=by, why=why[:2000], what="settlement")
    say(f"Settlement {one.asked.dossier.digest[:12]} is refused; the node reports it.")


@app.command("waiting")
def settle_waiting(home: NodeFolder) -> None:
    """Show the settlements that wait for this party's approval, and what its node verified of each."""
    from parties.node.settlements import waiting

    found = waiting(_node(home))
    if not found:
        say("No settlement waits here.")
    for one in found:
        _show(one, _node(home))
        digest = one.asked.dossier.digest[:12]
        say(
            f"Decide: entente settle approve {digest} --home {pasted(home)}, "
            f"or entente settle refuse {digest} --why TEXT --home {pasted(home)}"
        )


@app.command("live")
def settle_live(
    run: Annotated[str, typer.Argument(help="The run whose reward is pending: its id, or first characters.")],
    home: NodeFolder,
    source: Annotated[
        str, typer.Option("--from", metavar="RUN", help="The later run; by default the one with most live periods.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the numbers; sign nothing.")] = False,
    yes: Yes = False,
) -> None:
    """Attest live contributions at the label party's node, as a later run over a longer calendar valued them."""
    from parties.node.live_finding import find_live
    from parties.node.settlements import attest

    place = _node(home)
    found = find_live(place, run, source)
    said = found.record.contribution
    say(f"Run {found.record.run_id[:12]}, live periods as run {found.later[:12]} valued them:")
    table(
        "",
        ("party", ">phi", ">SE", ">periods counted"),
        (
            (party, correlation(one.phi), figure(one.standard_error, ".4f"), said.n_periods)
            for party, one in said.parties.items()
        ),
    )
    tell(f"Periods: {', '.join(found.record.periods)}. The later run's model has gone on learning since.")
    if found.missing:
        say(f"{found.missing} more must resolve before the settlement can be final, as agreed.")
    if dry_run:
        return
    if not yes and not typer.confirm("Sign these as the label party?", default=False):
        say("Nothing was signed.")
        return
    signed = attest(place, found.record)
    say(f"{things(len(signed.periods), 'live periods')} of run {signed.run_id[:12]} are attested; the node sends them.")


@app.command("attest")
def settle_attest(
    file: Annotated[Path, typer.Argument(help="JSON with run_id, periods and contribution.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where the attested record goes, for --live.")] = None,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Who you are, with --out.")] = "",
    credentials: Credentials = None,
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of the label party's node, which then sends it.")
    ] = None,
) -> None:
    """Sign live contributions as the run's label party: at its node, which sends them, or into a file."""
    record = read_live(file)
    assert record is not None
    if (home is None) == (out is None):
        raise ConfigError("say where it goes: --home DIR of the label party's node, or --out FILE")
    if home is not None:
        from parties.node.settlements import attest

        signed = attest(_node(home), record)
        say(
            f"{things(len(signed.periods), 'live periods')} of run {signed.run_id[:12]} are attested; the node "
            "sends them."
        )
        return
    assert out is not None
    if not name:
        raise ConfigError("say who you are, as the agreement names the label party: --as NAME")
    signed = record.signed(own_keys(credentials, name).key)
    try:
        write_whole(out, (signed.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); check disk and permissions") from None
    say(f"{out}: {things(len(signed.periods), 'live periods')} of run {signed.run_id[:12]}, attested by {name}.")


def _node(home: Path) -> NodeHome:
    from parties.node.home import NodeHome

    return NodeHome(home)


def _show(one: WaitingSettlement, place: NodeHome) -> None:
    from parties.node.earlier_runs import proposed_before

    signed = proposed_before(place.folder, one.asked.dossier.run_id)
    unit = None if signed is None else (signed.reward.scale, signed.reward.unit)
    show_dossier(one.asked.dossier, lambda _: unit)
    if one.asked.by:
        say(f"Asked for by {one.asked.by}.")
    word = (
        "This node computed the amounts again" if one.judgement.confirmed else "This node did not confirm the amounts"
    )
    say(f"{word}:", *(f"  {note}" for note in one.judgement.notes))
