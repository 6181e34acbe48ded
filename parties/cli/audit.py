"""``entente audit``: read, check and prove what a node or a coordinator has logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError, DataError, StorageError
from parties.plurals import things
from parties.terminal.console import say, table

if TYPE_CHECKING:
    from parties.audit.log import AuditLog

__all__ = ["app", "audit_check", "audit_labels", "audit_prove", "audit_report", "audit_show", "audit_verify"]

app = typer.Typer(cls=HelpGroup, help="Read and check the audit log of a node or a coordinator.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="Folder of the node, or of the coordinator.")]


def _place(home: Path) -> tuple[str, str]:
    """Whose log lies in ``home``, and its database URL."""
    from parties.coordinator.settings import load_coordinator_settings
    from parties.names import COORDINATOR
    from parties.node.settings import load_node_settings

    if not home.is_dir():
        raise ConfigError(f"{home}: no such folder; name the node's home")
    if (home / "node.toml").is_file():
        settings = load_node_settings(home / "node.toml")
        name, url, file = settings.party.name, settings.state, home / "state.db"
    else:
        name, url, file = COORDINATOR, load_coordinator_settings(home).database, home / "coordinator.db"
    if not url and not file.is_file():
        raise ConfigError(f"{home}: no audit log is here; name the home of a node that has been started")
    return name, url or f"sqlite:///{file}"


@contextmanager
def _opened(home: Path) -> Iterator[AuditLog]:
    from parties.audit.log import AuditLog

    name, url = _place(home)
    with AuditLog(name, url) as log:
        yield log


def _keys(home: Path) -> dict[str, bytes]:
    """Identity keys by name, of the roster, which names the log's owner too."""
    from parties.members.roster import Roster

    return {name: bytes.fromhex(member.identity_key) for name, member in Roster.load(home / "roster.json").items()}


@app.command("verify")
def audit_verify(
    home: Home,
    against: Annotated[
        list[Path] | None,
        typer.Option("--with", metavar="DIR", help="Another home: the heads it has seen are held against this log."),
    ] = None,
) -> None:
    """Check every entry, and every signed head of this log and of the others'."""
    from parties.audit.checking import check_log

    held = []
    for other in against or []:
        with _opened(other) as log:
            held.extend(log.heads())
    name, url = _place(home)
    check = check_log(name, url, _keys(home), held)
    found = check.findings
    if found is None:
        raise StorageError(check.faults[0])
    if not check.sound:
        say(*(f"fault: {fault}" for fault in check.faults[1:]))
        raise StorageError(f"the audit log of {name!r} is not sound: {check.faults[0]}; keep it as evidence")
    say(
        f"{name}: {things(found.size, 'entries')}, {things(found.own_heads, 'signed heads')}, all in order; "
        f"root {found.root}"
    )
    for other_name, count in found.others.items():
        unknown = "; it is no member now, so who signed them was not checked" if other_name in found.keyless else ""
        say(f"{other_name}: {things(count, 'heads')} seen, none contradicts another{unknown}")
    if found.unlinked:
        say(f"{things(found.unlinked, 'heads')} signed, but beginning after one that was not seen here.")


@app.command("show")
def audit_show(
    home: Home,
    run: Annotated[str, typer.Option("--run", help="Only this run: its id, or its first characters.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many entries, the latest.")] = 50,
) -> None:
    """List entries, oldest first."""
    with _opened(home) as log:
        entries = [entry for entry in log.entries() if entry.run_id.startswith(run)]
    table(
        "",
        (">entry", "at (UTC)", "run", "kind", "what"),
        (
            (entry.index, entry.at[:19].replace("T", " "), entry.run_id[:12], entry.kind, _words(entry.body))
            for entry in entries[-limit:]
        ),
    )


def _words(body: object) -> str:
    """The short facts of an entry; what is long is in its proof."""
    assert isinstance(body, dict)
    facts = {name: value for name, value in body.items() if isinstance(value, str | int | float) and value != ""}
    text = ", ".join(f"{name} {str(value)[:40]}" for name, value in facts.items())
    lists = ", ".join(
        f"{len(value)} {name}" for name, value in body.items() if isinstance(value, list | dict) and value
    )
    return ", ".join(part for part in (text, lists) if part)


@app.command("prove")
def audit_prove(
    entry: Annotated[int, typer.Argument(min=0, help="The entry's number, as `entente audit show` lists it.")],
    home: Home,
) -> None:
    """Print a proof, as JSON, that an entry is in the log: the entry, its path, and a signed head."""
    with _opened(home) as log:
        if entry >= len(log):
            raise ConfigError(f"the log has {things(len(log), 'entries')}, numbered from 0: name one of them")
        say(log.prove(entry).model_dump_json())


@app.command("check")
def audit_check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="A proof that `prove` printed, as a file.")],
    roster: Annotated[Path, typer.Option("--roster", metavar="FILE", help="roster.json: whose key is known for whom.")],
) -> None:
    """Check, offline, that a proof's entry is in the log whose head it carries. Needs no home and no log."""
    from pydantic import ValidationError

    from parties.audit.heads import Inclusion, check_inclusion
    from parties.members.roster import Roster

    try:
        inclusion = Inclusion.model_validate_json(proof.read_bytes())
    except OSError as error:
        raise ConfigError(f"{proof}: cannot be read ({error.strerror})") from None
    except ValidationError:
        raise DataError(f"{proof}: is not a proof of inclusion; make it with entente audit prove") from None
    owner = inclusion.head.log
    member = Roster.load(roster).get(owner)
    if member is None:
        raise ConfigError(f"{roster}: does not know {owner!r}, whose log the proof is of")
    if not check_inclusion(inclusion, bytes.fromhex(member.identity_key)):
        raise DataError(f"{proof}: does not prove that {owner}'s log holds the entry; do not rely on it")
    say(
        f"{owner} signed, at {inclusion.head.at}, that entry {inclusion.index} of {inclusion.head.size} is:",
        inclusion.entry,
    )


@app.command("labels")
def audit_labels(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="committed.npz of the label party's run folder.")],
    home: Home,
) -> None:
    """Check labels and columns that a label party discloses against what it committed to before a run's first step."""
    from parties.audit.committed_labels import LabelCommitment
    from parties.node.label_commitment import disclosed

    shown = disclosed(file)
    with _opened(home) as log:
        kept = [entry for entry in log.entries() if entry.kind == "commitment" and entry.run_id == shown.run_id]
    if not kept:
        raise ConfigError(f"{home}: its log holds no commitment of run {shown.run_id[:12]}; ask a party of that run")
    told = LabelCommitment.model_validate({**kept[0].body, "run_id": shown.run_id})
    key = _keys(home).get(told.party)
    if key is None or not told.signed_by(key.hex()):
        raise DataError(f"{home}: its roster has no key of {told.party!r} that signed the commitment it logged")
    parts = ("rows", "entities", "labels", "columns")
    differing = [part for part in parts if getattr(told, part) != getattr(shown, part)]
    if differing:
        raise DataError(
            f"{file}: {' and '.join(differing)} are not what {told.party} committed to; keep file and log as evidence"
        )
    say(
        f"{told.party} committed to these {things(shown.rows, 'rows')} of labels and of columns, logged here at "
        f"{kept[0].at}."
    )


@app.command("report")
def audit_report(
    run: Annotated[str, typer.Argument(help="Run id, or its first characters.")],
    home: Home,
) -> None:
    """Show what left this node in a run, message type by message type, and what each revealed."""
    import vfl.register  # noqa: F401  (every message type, so that each line has its words)
    from parties.audit.record import minimisation, openings_of

    with _opened(home) as log:
        found = {entry.run_id for entry in log.entries() if entry.run_id.startswith(run)}
        if len(found) != 1:
            raise ConfigError(f"{things(len(found), 'runs')} begin with {run!r}: `entente audit show` lists them")
        entries, name = log.entries(found.pop()), log.name
    lines = minimisation(entries)
    for way, title in (("sent", f"What {name} sent"), ("received", f"What {name} received")):
        table(
            title,
            ("to" if way == "sent" else "from", "message", "class", ">messages", ">bytes", "what it reveals"),
            (
                (line.peer, line.message, line.payload, line.messages, f"{line.bytes:,}", line.reveals)
                for line in lines
                if line.way == way
            ),
        )
    if not lines:
        say("No session of this run has ended here, so nothing was sent.")
    opened = openings_of(entries)
    if opened:
        table(
            "What was opened",
            ("session", ">openings", ">rows in all", ">forms per row"),
            ((line.session, line.openings, f"{line.rows:,}", line.width) for line in opened),
        )
