"""``entente data check`` and ``entente factors verify``: look before you trust."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.console import say, table
from parties.errors import ConfigError, DataError, StorageError

if TYPE_CHECKING:
    from parties.agreement import CalendarTerms
    from parties.data.check import CoverageReport

__all__ = ["data", "data_check", "factors", "factors_verify"]

data = typer.Typer(help="Look at a party's own data.", no_args_is_help=True)
factors = typer.Typer(help="Look at factors, check them, take them to other tools.", no_args_is_help=True)

_FULL_LISTING = 24


@data.command("check")
def data_check(
    home: Annotated[Path, typer.Option("--home", help="Folder of the party's node.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="consortium.toml whose calendar to use; by default that of the latest run."),
    ] = None,
) -> None:
    """Run the party's queries and count what they cover. Everything shown stays at home."""
    from parties.data.calendar import calendar_of
    from parties.data.check import coverage_report
    from parties.node.settings import load_node_settings

    settings = load_node_settings(home / "node.toml")
    calendar = calendar_of(_calendar(home, config))
    _show(
        coverage_report(settings.party, home / settings.queries, home / settings.data, calendar, settings.label),
    )


def _calendar(home: Path, config: Path | None) -> CalendarTerms:
    """The calendar of ``config``, or of the latest agreement that this node was asked to sign."""
    from parties.agreement import Agreement
    from parties.data.calendar import calendar_terms
    from parties.settings import load_consortium

    if config is not None:
        return calendar_terms(load_consortium(config).calendar)
    agreements = sorted((home / "runs").glob("*/agreement.json"), key=lambda path: path.stat().st_mtime)
    if not agreements:
        raise ConfigError(f"{home}: no run has been proposed to this node yet; name a calendar with --config FILE")
    try:
        return Agreement.model_validate_json(agreements[-1].read_bytes()).calendar
    except (OSError, ValueError):
        raise StorageError(f"{agreements[-1]}: damaged; name a calendar with --config FILE") from None


def _show(report: CoverageReport) -> None:
    say(
        f"{report.party}: {report.rows} rows, {report.entities} entities, {report.vintages} of the rows revise an "
        f"earlier one; observations from {report.first} to {report.last}"
    )
    periods = range(len(report.periods))
    step = max(1, math.ceil(len(report.periods) / _FULL_LISTING))
    table(
        "Usable at the cutoff" + (f" (every {step} periods)" if step > 1 else ""),
        ("period", ">entities", ">median age, days", *((">labels",) if report.labels else ())),
        (
            (
                report.periods[t],
                report.covered[t],
                "-" if math.isnan(report.age_days[t]) else f"{report.age_days[t]:.1f}",
                *((report.labels[t],) if report.labels else ()),
            )
            for t in periods[::step]
        ),
    )
    table("Missing values", ("column", ">share"), ((name, f"{share:.1%}") for name, share in report.missing.items()))
    say(*(f"note: {note}" for note in report.notes))


@factors.command("verify")
def factors_verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle: the folder that holds SHA256SUMS.")],
    roster: Annotated[
        Path | None, typer.Option("--roster", help="roster.json: whose keys count as known for which name.")
    ] = None,
) -> None:
    """Check a bundle's hashes, signatures and proof of logging, offline. With a roster, also whose they are."""
    from parties.audit.bundles import logged_exports
    from parties.identity import Roster
    from vfl.factors.verify import verify_bundle

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name the one that holds SHA256SUMS")
    trusted = None
    if roster is not None:
        trusted = {name: bytes.fromhex(member.identity_key) for name, member in Roster.load(roster).items()}
    try:
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error.strerror}); check the permissions") from None
    report = verify_bundle(files, trusted=trusted)
    if not report.ok:
        say(*(f"fault: {fault}" for fault in report.faults[1:]))
        raise DataError(f"{folder}: {report.faults[0]}; do not use this bundle, fetch it again")
    for signature in report.signatures:
        say(f"signed by {signature.signer} with the key {signature.key[:16]}... ({_standing(signature.trusted)})")
    proofs = logged_exports(files, {signature.signer: bytes.fromhex(signature.key) for signature in report.signatures})
    for proof in proofs:
        if proof.fault:
            raise DataError(f"{folder}: the proof by {proof.signer} {proof.fault}; do not use this bundle")
        say(f"logged by {proof.signer} at {proof.at} as entry {proof.index} of {proof.size} under a signed head")
    if not proofs:
        say("No proof is here that the bundle was logged when it was made.")
    say(f"{report.files} files are as signed.")


def _standing(trusted: bool) -> str:
    return "its key in the roster" if trusted else "not compared with any roster: name one with --roster"
