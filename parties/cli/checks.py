"""``entente data check`` and ``entente factors verify``: look before you trust."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError, DataError, StorageError
from parties.plurals import things
from parties.terminal.console import say, table, tell

if TYPE_CHECKING:
    from parties.agreement.terms import CalendarTerms, StaticTerms
    from parties.data.check import CoverageReport, Fault

__all__ = [
    "Folder",
    "data",
    "data_check",
    "entities",
    "entities_aligned",
    "entities_check",
    "entities_links",
    "entities_universe",
    "factors",
    "factors_verify",
]

data = typer.Typer(cls=HelpGroup, help="Look at a party's own data.", no_args_is_help=True)
entities = typer.Typer(cls=HelpGroup, help="Look at a party's own entity names.", no_args_is_help=True)
factors = typer.Typer(
    cls=HelpGroup, help="Look at factors, check them, take them to other tools.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The bundle: the folder that holds SHA256SUMS.")]

_FULL_LISTING = 24
_MOST_SHOWN = 40
_KINDS = {
    "same": "spelled as listed",
    "exact": "alike but for spelling",
    "close": "close",
    "ambiguous": "ambiguous",
    "none": "not found",
}


@data.command("check")
def data_check(
    home: Annotated[Path, typer.Option("--home", help="Folder of the party's node.")],
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="consortium.toml whose calendar to use, or whose static; by default that of the latest run.",
        ),
    ] = None,
    frequency: Annotated[
        str, typer.Option("--frequency", help="Instead of a file: decision periods, such as W-FRI, M, Q, B or XNYS.")
    ] = "",
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="With --frequency: the first period's day.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="With --frequency: the last period's day.")
    ] = None,
) -> None:
    """Run the party's queries and count what they cover. Everything shown stays at home.

    Before any run is proposed it needs nobody else's file:

        entente data check --home DIR --frequency W-FRI --from 2023-01-06 --to 2024-12-27
    """
    from parties.agreement.terms import StaticTerms
    from parties.data.calendar import calendar_of
    from parties.data.check import coverage_report, row_faults
    from parties.data.static_check import static_lines
    from parties.node.settings import load_node_settings

    settings = load_node_settings(home / "node.toml")
    queries, data_folder = home / settings.queries, home / settings.data
    times = _times(home, config) if not frequency else _named_calendar(frequency, first, last)
    if isinstance(times, StaticTerms):
        say(*static_lines(settings.party, queries, data_folder, times, settings.label))
        return
    calendar = calendar_of(times)
    if settings.party.columns:  # of labels, and of texts, nothing is counted here
        _refuse_faults(row_faults(settings.party, queries, data_folder), settings.party.query)
    report = coverage_report(settings.party, queries, data_folder, calendar, settings.label)
    _show(report)
    _verdict(report)


def _named_calendar(frequency: str, first: datetime | None, last: datetime | None) -> CalendarTerms:
    from pydantic import ValidationError

    from parties.data.calendar import calendar_terms
    from parties.settings.consortium import CalendarSettings
    from parties.settings.faults import reason

    if first is None or last is None:
        raise ConfigError("--frequency needs the first and the last day too: --from YYYY-MM-DD --to YYYY-MM-DD")
    try:
        named = CalendarSettings(frequency=frequency, first=first.date(), last=last.date())
    except ValidationError as error:
        raise ConfigError(f"--from, --to: {reason(error)}") from None
    return calendar_terms(named)


def _verdict(report: CoverageReport) -> None:
    """The last line: whether a run over this calendar could use the data."""
    empty = sum(not count for count in report.covered)
    if report.covered and empty == len(report.covered):
        raise DataError(
            f"no period of this calendar has a row: the observations are from {report.first} to {report.last}; choose "
            "periods that they cover, or look at available_at, lag_days and largest_age_days"
        )
    if report.labels and not any(report.labels):
        raise DataError("no period of this calendar has a label: choose periods that the labels cover")
    gaps = f"{empty} of {len(report.periods)} periods {'has' if empty == 1 else 'have'} no row" if empty else ""
    notes = f"{len(report.notes)} notes above to look at" if len(report.notes) > 1 else "1 note above to look at"
    told = "; ".join(filter(None, ("Ready for a run over this calendar", gaps, notes if report.notes else "")))
    tell(f"{told}.")


def _refuse_faults(faults: Sequence[Fault], query: str) -> None:
    """Name rows that no run would take, all at once."""
    counts = {what: sum(fault.what == what for fault in faults) for what in ("look-ahead", "duplicate")}
    say(f"Look-ahead: {counts['look-ahead'] or 'none'}. Duplicates: {counts['duplicate'] or 'none'}.")
    if not faults:
        return
    shown = f"The first {_FULL_LISTING} of {len(faults)}" if len(faults) > _FULL_LISTING else ""
    table(shown, ("fault", ">row", "detail"), ((f.what, f.row, f.detail) for f in faults[:_FULL_LISTING]))
    from parties.data.check import mended

    raise DataError(f"{query}: {things(len(faults), 'rows')} would stop every run: {mended(faults, query)}")


@entities.command("check")
def entities_check(
    home: Annotated[Path, typer.Option("--home", help="Folder of the party's node.")],
    reference: Annotated[Path, typer.Option("--reference", help="CSV with a header: the public list of names.")],
    column: Annotated[str, typer.Option("--column", help="Its column; by default the first.")] = "",
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write the proposed alias table to a new file.")
    ] = None,
    least: Annotated[float, typer.Option("--least", min=50, max=100, help="How close a name must be, of 100.")] = 88.0,
) -> None:
    """Match the party's names against a public list, here, and propose aliases. Nothing is written unasked."""
    from parties.data.entities import listed_names
    from parties.data.matching import match_names, read_reference, write_aliases
    from parties.node.settings import load_node_settings

    settings = load_node_settings(home / "node.toml")
    folders = (home / settings.queries, home / settings.data)
    names = listed_names(settings.party, *folders, settings.label)
    matches = match_names(names, read_reference(reference, column), least=least)
    counts = {kind: sum(match.kind == kind for match in matches) for kind in _KINDS}
    say(
        f"{things(len(matches), 'names')}: "
        + ", ".join(f"{count} {_KINDS[kind]}" for kind, count in counts.items() if count)
    )
    doubtful = [match for match in matches if match.kind in ("close", "ambiguous", "none")]
    if doubtful:
        table(
            f"To look at (the first {_MOST_SHOWN} of {len(doubtful)})" if len(doubtful) > _MOST_SHOWN else "To look at",
            ("name", "proposal", ">score", "verdict", "or"),
            ((m.name, m.reference, f"{m.score:.0f}", m.kind, m.next_best) for m in doubtful[:_MOST_SHOWN]),
        )
    if write is None:
        say("Nothing was written. --write FILE writes exact and close matches as an alias table for you to read.")
    else:
        say(f"{write}: {write_aliases(write, matches)} aliases. Read it, then name it as aliases in node.toml.")


@entities.command("links")
def entities_links(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The party's own copy of the link file.")],
    kind: Annotated[Literal["sec", "openfigi", "crsp"], typer.Option("--of", help="Whose file it is.")],
    write: Annotated[Path, typer.Option("--write", metavar="FILE", help="Write the alias table to a new file.")],
) -> None:
    """Turn a vendor's link file into an alias table: of CIKs, share class FIGIs, or PERMNOs with days."""
    from parties.data.link_files import read_links, write_links

    found = read_links(kind, file)
    write_links(write, found)
    dated = sum(one.dated for one in found)
    say(f"{write}: {len(found)} aliases, {dated} of them with days. Name it as aliases in node.toml.")


@entities.command("aligned")
def entities_aligned(
    home: Annotated[Path, typer.Option("--home", help="Folder of the party's node.")],
) -> None:
    """Every alignment of this node, by counterparty: what each declared, and how often the standing limit is used."""
    from parties.node.alignment_history import alignments
    from parties.node.settings import load_node_settings

    most, found = load_node_settings(home / "node.toml").limits.alignments, alignments(home)
    say(f"{len(found)} alignments. In 30 days a counterparty may come {most} times with a set that is new or changed.")
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M}", one.run[:12], one.policy, name, held.size, one.own, one.rows,
         "first" if held.changed is None else f"{held.changed:,}")
        for one in found
        for name, held in one.peers.items()
    ]  # fmt: skip
    if rows:
        table("", ("at (UTC)", "run", "policy", "with", ">its set", ">ours", ">rows", ">of its ids changed"), rows)


@entities.command("universe")
def entities_universe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: entity, and from and until where they change.")],
) -> None:
    """Read a public security list and print its fingerprint: alignment.universe_sha256 of an agreement."""
    from parties.data.security_list import read_security_list

    found = read_security_list(file)
    dated = sum(bool(spell.first or spell.last) for spell in found.spells)
    say(
        f"{file}: {things(len(found.ids), 'entities')} in {things(len(found.spells), 'rows')}, {dated} of them "
        "with days.",
        f'universe_sha256 = "{found.digest.hex()}"',
    )


def _times(home: Path, config: Path | None) -> CalendarTerms | StaticTerms:
    """The calendar of ``config``, or of the latest agreement that this node was asked to sign; or that it has none."""
    from parties.agreement.document import Agreement
    from parties.data.calendar import calendar_terms
    from parties.settings.consortium import load_consortium

    if config is not None:
        settings = load_consortium(config)
        if settings.calendar is None:
            assert settings.static is not None
            return settings.static
        return calendar_terms(settings.calendar)
    agreements = sorted((home / "runs").glob("*/agreement.json"), key=lambda path: path.stat().st_mtime)
    if not agreements:
        raise ConfigError(
            f"{home}: no run has been proposed to this node yet; name a calendar with --frequency W-FRI "
            "--from YYYY-MM-DD --to YYYY-MM-DD, or with --config FILE"
        )
    try:
        agreement = Agreement.model_validate_json(agreements[-1].read_bytes())
        return agreement.static or agreement.dated
    except (OSError, ValueError):
        raise StorageError(f"{agreements[-1]}: damaged; name a calendar with --config FILE") from None


def _show(report: CoverageReport) -> None:
    revised = things(report.vintages, "revisions") if report.vintages else "no revision"
    tell(
        f"{report.party}: {things(report.rows, 'rows')} of {things(report.entities, 'entities')}, {revised} among "
        f"them; observations from {report.first} to {report.last}"
    )
    periods = range(len(report.periods))
    step = max(1, math.ceil(len(report.periods) / _FULL_LISTING))
    table(
        "Usable at the cutoff" + (f" (every {things(step, 'periods')})" if step > 1 else ""),
        (
            "period",
            *((">entities", ">median age, days") if report.covered else ()),
            *((">labels",) if report.labels else ()),
        ),
        (
            (
                report.periods[t],
                *((report.covered[t], _aged(report.age_days[t])) if report.covered else ()),
                *((report.labels[t],) if report.labels else ()),
            )
            for t in periods[::step]
        ),
    )
    if report.missing:
        shares = ((name, f"{share:.1%}") for name, share in report.missing.items())
        table("Missing values", ("column", ">share"), shares)
    if report.preview:
        table(
            f"Cross-section at {report.preview_period}, raw values",
            ("column", "unit", ">filled", ">least", ">5%", ">median", ">95%", ">most"),
            (
                (p.column, p.unit, f"{p.filled:.0%}", *map(_four_digits, (p.least, p.low, p.median, p.high, p.most)))
                for p in report.preview
            ),
        )
    tell(*(f"note: {note}" for note in report.notes), *(f"read {reading}" for reading in report.readings))


def _aged(days: float) -> str:
    return "-" if math.isnan(days) else f"{days:.1f}"


def _four_digits(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


@factors.command("verify")
def factors_verify(
    folder: Folder,
    roster: Annotated[
        Path | None, typer.Option("--roster", help="roster.json: whose keys count as known for which name.")
    ] = None,
) -> None:
    """Check a bundle's hashes, signatures and proof of logging, offline. With a roster, also whose they are."""
    from parties.factor.bundle_check import check_bundle
    from parties.files.folder import files_below
    from parties.members.roster import Roster

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name the one that holds SHA256SUMS")
    trusted = None
    if roster is not None:
        trusted = {name: bytes.fromhex(member.identity_key) for name, member in Roster.load(roster).items()}
    try:
        files = files_below(folder)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be read ({error.strerror}); check the permissions") from None
    found = check_bundle(files, trusted)
    if not found.sound:
        say(*(f"fault: {fault}" for fault in found.faults[1:]))
        raise DataError(f"{folder}: {found.faults[0]}; do not use this bundle, fetch it again")
    for signature in found.report.signatures:
        say(f"signed by {signature.signer} with the key {signature.key[:16]}... ({_standing(signature.trusted)})")
    for proof in found.logged:
        say(f"logged by {proof.signer} at {proof.at} as entry {proof.index} of {proof.size} under a signed head")
    if not found.logged:
        say("No proof is here that the bundle was logged when it was made.")
    say(f"{things(found.report.files, 'files')} are as signed.")


def _standing(trusted: bool) -> str:
    return "its key in the roster" if trusted else "not compared with any roster: name one with --roster"
