"""``entente audit evidence|replay|screen``: contributions, or a screen, computed once more from what parties show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.audit import app
from parties.errors import ConfigError, DataError, StorageError
from parties.plurals import things
from parties.private_files import write_whole
from parties.terminal.console import correlation, pasted, say, table

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.node.home import NodeHome
    from parties.settlement.replay_verdict import ReplayVerdict

__all__ = ["audit_evidence", "audit_replay", "audit_screen"]


@app.command("evidence")
def audit_evidence(
    run: Annotated[str, typer.Argument(help="Run id, or its first characters.")],
    home: Annotated[Path, typer.Option("--home", help="Folder of this party's node.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")],
) -> None:
    """Write what this party shows an auditor of a run's contributions, or of a screen.

    The label party's file holds its labels, its columns and what opened to it; a feature party's holds digests alone,
    of a screen its terminals.
    """
    from parties.agreement.document import Agreement
    from parties.node.contribution_evidence import evidence_of_label, evidence_of_party
    from parties.node.home import NodeHome
    from parties.private_files import write_private
    from vfl.terms import FederatedModel, ScreenModel

    node = NodeHome(home)
    found = [path for path in (node.folder / "runs").glob(f"{run}*/agreement.json") if run]
    if len(found) != 1:
        raise ConfigError(f"{things(len(found), 'runs')} begin with {run!r}: `entente audit show` lists them")
    run_id = found[0].parent.name
    try:
        agreement = Agreement.model_validate_json(found[0].read_bytes())
    except (OSError, ValueError):
        raise StorageError(f"{found[0]}: damaged; restore it from a backup") from None
    me = node.identity.name
    if isinstance(agreement.model, FederatedModel):
        raise ConfigError(
            f"run {run_id[:12]} is federated: members' rank ICs open in sums alone, so nobody can compute its "
            "contributions anew; what is signed and logged of them is in the pack of "
            f"`entente evidence {run_id[:12]} --home {pasted(home)}`"
        )
    if isinstance(agreement.model, ScreenModel):
        data, what = _screen_evidence(node, agreement)
    elif agreement.label.party == me:
        data = evidence_of_label(node.folder, node.seed, me, agreement, run_id).packed()
        what = "labels, own columns and all that opened to this party: for the auditor alone"
    else:
        with node.audit() as log:
            log.head()
            data = evidence_of_party(node.folder, log, run_id).model_dump_json().encode()
        what = "digests and proofs, and the signed contributions; no value of this party's"
    try:
        write_private(out, data)
    except OSError as error:
        raise StorageError(f"{out}: cannot be written ({error.strerror}); check the folder") from None
    say(f"{out}: {what}.")


def _screen_evidence(node: NodeHome, agreement: Agreement) -> tuple[bytes, str]:
    """This party's file of a screen, and what is in it."""
    from parties.node.screen_evidence import label_screen_evidence, party_screen_evidence
    from parties.node.screen_label import screen_folder
    from parties.node.screen_report import REPORT

    if agreement.label.party == node.identity.name:
        report = screen_folder(node.folder, agreement.run_id) / REPORT
        data = label_screen_evidence(node.folder, agreement, report).packed()
        return data, "labels, own terminals and all sums that opened to this party: for the auditor alone"
    with node.audit() as log:
        log.head()
        data = party_screen_evidence(node.folder, log, agreement.run_id).packed()
    return data, "this party's terminals as the screen numbered them, without names: for the auditor alone"


@app.command("screen")
def audit_screen(
    label: Annotated[Path, typer.Argument(metavar="LABEL_FILE", help="What the label party shows.")],
    parties: Annotated[list[Path], typer.Argument(metavar="PARTY_FILE...", help="What feature parties show.")],
) -> None:
    """Hold the sums of a screen against the labels that were committed to, and its report against the sums. Offline."""
    from parties.node.screen_evidence import ScreenLabelEvidence, ScreenPartyEvidence
    from parties.node.screen_replay import replay_screen

    found = replay_screen(ScreenLabelEvidence.read(label), [ScreenPartyEvidence.read(path) for path in parties])
    if found.unchecked:
        say(f"Showed nothing: {', '.join(found.unchecked)}; sums of their terminals are the label party's word.")
    if found.faults:
        say(*(f"fault: {found.label_party} {fault}" for fault in found.faults))
        raise DataError(f"the replay names {found.label_party!r}, which {found.faults[0]}; keep the files as evidence")
    say(
        f"What opened of {', '.join(found.checked)} in run {found.run_id[:12]} are sums of the labels that "
        f"{found.label_party} had committed to,",
        f"and its report on {things(found.formulas, 'formulas')} is what the rule makes of them.",
    )


@app.command("replay")
def audit_replay(
    label: Annotated[Path, typer.Argument(metavar="LABEL_FILE", help="What the label party shows.")],
    parties: Annotated[list[Path], typer.Argument(metavar="PARTY_FILE...", help="What feature parties show.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the verdict, for `settle judge --replay`.")
    ] = None,
) -> None:
    """Compute a run's contributions once more and hold them against what was signed. Offline; names who lied."""
    from parties.node.contribution_evidence import LabelEvidence, PartyEvidence
    from parties.node.contribution_replay import replay_contributions

    verdict = replay_contributions(LabelEvidence.read(label), [PartyEvidence.read(path) for path in parties])
    if json_file is not None:
        try:
            write_whole(json_file, (verdict.model_dump_json(indent=2) + "\n").encode())
        except OSError as error:
            raise StorageError(f"{json_file}: cannot be written ({error.strerror}); check the folder") from None
    _show(verdict)


def _show(verdict: ReplayVerdict) -> None:
    table("", ("coalition", ">v(S), replayed"), ((name, correlation(value)) for name, value in verdict.values.items()))
    for limit in verdict.not_repeated:
        say(f"Not repeated: {limit}.")
    if verdict.unchecked:
        say(f"Showed nothing: {', '.join(verdict.unchecked)}; their parts are the label party's word.")
    if verdict.named:
        say(*(f"fault: {verdict.named} {fault}" for fault in verdict.faults))
        raise DataError(f"the replay names {verdict.named!r}, who {verdict.faults[0]}; keep the files as evidence")
    say(
        f"{verdict.label_party} signed what its committed labels, its models and what {', '.join(verdict.checked)} "
        f"sent give: every number of the record of run {verdict.run_id[:12]}."
    )
