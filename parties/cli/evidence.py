"""``entente evidence``: one signed file on a run for a committee, a regulator or an auditor, and its check."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parties.cli.help_group import HelpGroup
from parties.cli.runs import Coordinator, Credentials, connect, full_id
from parties.errors import ConfigError, DataError, StorageError
from parties.plurals import things
from parties.terminal.console import pasted, say

if TYPE_CHECKING:
    from parties.evidence.checking import EvidenceCheck

__all__ = ["app", "evidence_check", "evidence_write"]


class _RunOrCommand(HelpGroup):
    """``entente evidence RUN`` writes; a word that is no command of the group is a run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            args = ["write", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_RunOrCommand,
    help="Write and check evidence packs: entente evidence RUN --home DIR, entente evidence check FILE.",
    no_args_is_help=True,
)


@app.command("write")
def evidence_write(
    run: Annotated[str, typer.Argument(help="Run id, or its first characters.")],
    home: Annotated[Path | None, typer.Option("--home", help="Folder of a node, or of the coordinator.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="evidence-RUN-NAME.zip here.")] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", metavar="FILE", help="At a party: an auditor's verdict to put in (audit replay --json)."
        ),
    ] = None,
    coordinator: Coordinator = "",
    credentials: Credentials = None,
) -> None:
    """Write the signed evidence pack of a run. `entente evidence RUN` does the same.

    With --home DIR of a node or of the coordinator, from what lies there; with --credentials, the admin asks the
    coordinator for its pack. It holds no row and no score.
    """
    from parties.evidence.checking import check_evidence
    from parties.private_files import write_private

    if home is not None and (home / "node.toml").is_file():
        data = _of_node(home, run, replay)
    elif replay is not None:
        raise ConfigError("a verdict goes into a party's pack: name that party's node with --home DIR")
    elif home is not None:
        data = _of_coordinator(home, run)
    else:
        with connect(coordinator, credentials) as client:
            data = client.evidence(full_id(client, run))
    check = check_evidence(data)
    assert check.parts is not None
    about = check.parts.about
    out = out or Path(f"evidence-{about.run_id[:12]}-{about.writer}.zip")
    try:
        write_private(out, data)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); check the folder") from None
    say(f"{out}: evidence on run {about.run_id[:12]}, signed by {about.writer}, {len(data):,} bytes; no score.")
    say(*(f"Left out: {one.what} ({one.why})." for one in about.left_out))


def _of_node(home: Path, run: str, replay: Path | None) -> bytes:
    from parties.node.evidence_pack import evidence_of_node
    from parties.node.home import NodeHome
    from parties.settlement.replay_verdict import read_verdict

    node = NodeHome(home)
    found = [path.parent.name for path in (node.folder / "runs").glob(f"{run}*/agreement.json") if run]
    if len(found) != 1:
        raise ConfigError(
            f"{home}: {things(len(found), 'runs')} begin with {run!r}: `entente run list --home {pasted(home)}` "
            "lists them"
        )
    verdict = b"" if replay is None else read_verdict(replay).model_dump_json().encode()
    return evidence_of_node(node, found[0], datetime.now(UTC), verdict)


def _of_coordinator(home: Path, run: str) -> bytes:
    from parties.audit.log import AuditLog
    from parties.coordinator.closed_runs import open_ledger, run_states
    from parties.coordinator.evidence_pack import evidence_of_coordinator
    from parties.coordinator.settings import load_coordinator_settings
    from parties.members.keys import load_identity
    from parties.members.roster import Roster
    from parties.names import COORDINATOR

    states = run_states(home)
    found = [run_id for run_id in states if run and run_id.startswith(run)]
    if len(found) != 1:
        raise ConfigError(f"{home}: {things(len(found), 'runs')} begin with {run!r}: `entente run list` lists them")
    identity = load_identity(COORDINATOR, home / "keys")
    database = load_coordinator_settings(home).database
    with (
        AuditLog.at(COORDINATOR, database, home / "coordinator.db", identity.key.sign) as log,
        open_ledger(home) as ledger,
    ):
        roster = Roster.load(home / "roster.json")
        return evidence_of_coordinator(identity, home, states[found[0]], log, ledger, roster, datetime.now(UTC))


@app.command("check")
def evidence_check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Packs of one run.")],
    roster: Annotated[
        Path | None, typer.Option("--roster", metavar="FILE", help="roster.json: whose key is known for whom.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Also write the first pack's report.html, if sound."),
    ] = None,
) -> None:
    """Check evidence packs offline, and say what is proved and what is asserted. Several are compared."""
    from parties.evidence.checking import check_evidence
    from parties.evidence.pack import REPORT, unpacked
    from parties.evidence.together import check_together
    from parties.members.roster import Roster

    known = None if roster is None else Roster.load(roster)
    sound = []
    for path in files:
        data = _read(path)
        check = check_evidence(data, known)
        _show(path, check)
        assert check.parts is not None
        sound.append(check.parts)
        if report is not None and path == files[0]:
            try:
                report.write_bytes(unpacked(data)[REPORT])
            except OSError as error:
                raise StorageError(f"{report}: cannot be written ({error.strerror}); check the folder") from None
    said = check_together(sound)
    if said.faults:
        say(*(f"fault: {fault}" for fault in said.faults[1:]))
        raise DataError(f"the packs do not fit together: {said.faults[0]}; keep them as evidence")
    say(*(f"Proved together: {line}" for line in said.proved))
    say(*(f"Asserted together: {line}" for line in said.asserted))


def _show(path: Path, check: EvidenceCheck) -> None:
    if not check.sound:
        say(*(f"fault: {fault}" for fault in check.faults[1:]))
        raise DataError(f"{path}: {check.faults[0]}; do not rely on it")
    assert check.parts is not None
    about = check.parts.about
    say(f"{path}: evidence on run {about.run_id}, by {about.writer}. Every part is as signed.")
    say(*(f"Proved: {line}" for line in check.proved))
    say(*(f"Asserted: {line}" for line in check.asserted))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name an evidence pack") from None
