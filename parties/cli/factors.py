"""``entente factors``: look at factors, compare them, and take them to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parties.cli.checks import Folder
from parties.cli.checks import factors as app
from parties.errors import ConfigError, DataError, StorageError
from parties.factor.formats import Format
from parties.plurals import things
from parties.private_files import write_whole
from parties.terminal.console import correlation, figure, say, table, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parties.factor.tables import FactorFolder, ScoresFolder
    from vfl.factors.findings import Findings, Number

__all__ = [
    "app",
    "factors_compare",
    "factors_export",
    "factors_list",
    "factors_show",
    "joint_summary",
    "show_findings",
    "write_file",
]


@app.command("list")
def factors_list(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, with all folders below.")] = Path(),
) -> None:
    """List the factor bundles below a folder."""
    from parties.factor.tables import find_folders, open_folder, open_scores, superseding

    folders, faults, scores = [], [], []
    for path in find_folders(root):
        try:
            found = open_scores(path)
            if found is None:
                folders.append(open_folder(path))
            else:
                scores.append(found)
        except DataError as fault:
            faults.append(str(fault))
    say(*(f"fault: {fault}" for fault in faults))
    if scores:
        table(
            "Scores of static data",
            ("factor", "version", ">test rows", "measures", "folder"),
            (
                (s.metadata["factor_id"], s.metadata["version"], s.validation["n_rows"], _measures(s), s.path)
                for s in scores
            ),
        )
    if not folders and scores:
        return
    if not folders:
        say(f"No{' sound' if faults else ''} factor bundle lies below {root}.")
        return
    table(
        "",
        ("factor", "version", "superseded by", "first", "last", ">rank IC", ">t", "warnings", "folder"),
        (
            (
                folder.metadata["factor_id"],
                folder.metadata["version"],
                superseding(folder.path) or "-",
                folder.metadata["date_range"]["first"],
                folder.metadata["date_range"]["last"],
                correlation(joint_summary(folder)["mean"]),
                "-" if joint_summary(folder)["t"] is None else f"{joint_summary(folder)['t']:.1f}",
                ", ".join(dict.fromkeys(w.name for w in folder.findings.warnings))
                if folder.findings
                else "not checked",
                folder.path,
            )
            for folder in folders
        ),
    )


def _measures(bundle: ScoresFolder) -> str:
    joint: dict[str, float | None] = bundle.validation["models"]["joint"]
    return ", ".join(f"{name.replace('_', ' ')} {figure(value, '.4f')}" for name, value in joint.items())


@app.command("show")
def factors_show(
    folder: Folder,
    everything: Annotated[bool, typer.Option("--all", help="Every number with its definition.")] = False,
    charts: Annotated[
        Path | None, typer.Option("--charts", metavar="FOLDER", help="Also write each chart of the report as SVG.")
    ] = None,
) -> None:
    """Show what a factor is, how good it was and what to beware of."""
    from parties.factor.tables import open_folder, open_scores, superseding

    scores = open_scores(folder)
    if scores is not None:
        _show_scores(scores, everything=everything, charts=charts)
        return
    bundle = open_folder(folder)
    told, newer = bundle.metadata, superseding(folder)
    say(
        f"{bundle.name}: {told['label_name']} ({told['label_definition']})",
        f"{things(told['n_rows'], 'scores')} of {told['n_instruments']} instruments on "
        f"{things(told['n_dates'], 'dates')}, "
        f"{told['date_range']['first']} to {told['date_range']['last']}, horizon {things(told['horizon'], 'periods')}",
        f"Universe: {told['universe']}. Parties: {', '.join(told['parties'])}. Trials: {told['n_trials']}.",
        f"Signed by {', '.join(bundle.signers)}." if bundle.signers else "Signed by nobody.",
    )
    before = told.get("supersedes")
    if before:
        say(f"Supersedes version {before['version']}: {before['why']}.")
    if newer:
        say(f"Superseded by version {newer}, which lies beside it.")
    _say_live(folder)
    joint = joint_summary(bundle)
    say(f"Rank IC {correlation(joint['mean'])} over {things(joint['n_periods'], 'periods')}, out of sample: "
        f"{bundle.validation['out_of_sample']}")  # fmt: skip
    if bundle.findings is None:
        say("The bundle holds no battery: make one with entente factors validate.")
    else:
        show_findings(bundle.findings, everything=everything)
        _draw(bundle.findings, charts)


def _say_live(folder: Path) -> None:
    """How far daily use is, and why it has ended where it has."""
    from parties.factor.live_scores import live_status

    live = live_status(folder)
    if live is None:
        return
    told = f", the last of them {live.scored[-1]}" if live.scored else ""
    say(f"Daily use: {len(live.scored)} of {live.agreed} later periods scored{told}; until {live.expires}.")
    if live.ended:
        say(f"No more scores follow: {live.ended}.")


def _show_scores(bundle: ScoresFolder, *, everything: bool, charts: Path | None) -> None:
    """What scores of static data are, and how good they are on the test rows."""
    told, counts = bundle.metadata, bundle.metadata["rows_by_part"]
    say(
        f"{told['factor_id']} {told['version']}: {told['label_name']} ({told['label_definition']})",
        f"{things(told['n_rows'], 'scores')}, of the test rows, and {counts.get('training', 0)} training rows without",
        f"A score is: {told['unit']}",
        f"Parts: {told['parts']}. Parties: {', '.join(told['parties'])}. Trials: {told['n_trials']}.",
        f"Signed by {', '.join(bundle.signers)}." if bundle.signers else "Signed by nobody.",
    )
    show_findings(bundle.findings, everything=everything)
    _draw(bundle.findings, charts)


@app.command("export")
def factors_export(
    folder: Folder,
    form: Annotated[Format, typer.Option("--format", help="Who will read it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    id_column: Annotated[
        str,
        typer.Option("--id-column", help="Numerai: ticker, sedol, bloomberg_ticker, composite_figi, numerai_ticker."),
    ] = "numerai_ticker",
) -> None:
    """Write a factor as alphalens, qlib, Numerai Signals or zipline read it."""
    from parties.factor.formats import write_form
    from parties.factor.tables import open_folder

    bundle = open_folder(folder)
    if form is Format.QLIB and out.suffix != ".parquet":
        raise ConfigError(f"{out}: qlib goes by the file's name, which must end in .parquet")
    try:
        written = write_form(form, bundle.factor, bundle.pit["available_at"], id_column)
    except DataError as reason:
        raise DataError(f"{folder}: {reason}") from None
    write_file(out, written.content)
    say(f"{out} is written ({written.hint.format(name=out.name)}).")


@app.command("compare")
def factors_compare(
    folder: Folder, other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another one.")]
) -> None:
    """Compare two bundles: what they are, how good they were, how alike their scores are."""
    from parties.factor.likeness import likeness
    from parties.factor.tables import open_folder

    one, two = open_folder(folder), open_folder(other)
    keys = ("factor_id", "version", "label_name", "horizon", "universe", "n_rows", "n_trials", "parties", "date_range")
    rows = [(k, str(one.metadata[k]), str(two.metadata[k])) for k in keys if one.metadata[k] != two.metadata[k]]
    first_joint, second_joint = joint_summary(one), joint_summary(two)
    rows.append(("rank IC", correlation(first_joint["mean"]), correlation(second_joint["mean"])))
    rows.append(("t", correlation(first_joint["t"]), correlation(second_joint["t"])))
    rows += _compared_findings(one, two)
    table("", ("", one.name, two.name), rows)
    alike = likeness(one, two)
    if alike is None:
        say("They share no date or no instrument.")
        return
    same = alike.correlation
    say(
        f"On {alike.dates} shared dates and {alike.instruments} shared instruments the scores' mean rank correlation "
        f"is {correlation(None if same.n_periods == 0 else same.mean)} ({things(same.n_periods, 'dates')} with "
        "10 scores in both)."
    )


_COMPARED = (
    ("uplift", "rank_ic_difference", "uplift of joining"),
    ("uplift", "rank_ic_difference_t", "its t"),
    ("stability", "turnover", "turnover"),
)


def _compared_findings(one: FactorFolder, two: FactorFolder) -> Iterator[tuple[str, str, str]]:
    """Numbers that both batteries have, and the difference of their rank ICs over the periods of both."""
    from vfl.factors.charts import number_text
    from vfl.factors.paired import paired_difference

    found = [bundle.findings for bundle in (one, two)]
    if found[0] is None or found[1] is None:
        return
    for section, name, title in _COMPARED:
        numbers = [findings.numbers.get(section, {}).get(name) for findings in found if findings is not None]
        if all(number is not None for number in numbers):
            left, right = (number_text(number.value) for number in numbers if number is not None)
            yield title, left, right
    series = [findings.series.get("rank_ic") for findings in found if findings is not None]
    if series[0] is None or series[1] is None:
        return
    first, second = (dict(zip(line.x, line.y, strict=True)) for line in series if line is not None)
    gained = paired_difference(first, second, horizon=max(one.horizon, two.horizon))
    yield (
        f"difference over {things(gained.n_periods, 'periods')}, t",
        "",
        f"{correlation(gained.mean)}, {number_text(gained.t)}",
    )


def joint_summary(bundle: FactorFolder) -> dict[str, Any]:
    summary: dict[str, Any] = bundle.validation["models"]["joint"]["rank"]
    return summary


def show_findings(found: Findings, *, everything: bool, raised: str = "") -> None:
    """The verdict, numbers by section, warnings, and what was left out. raised: in place of the warnings' names."""
    from vfl.factors.report import section_titles, verdict

    named = ", ".join(sorted({one.name for one in found.warnings}))
    raised = raised or (f"Warnings: {named}." if named else "No warning.")
    tell(f"Verdict: {verdict(found)} {raised}")

    for section, title in section_titles(found).items():
        rows = [
            (name.replace("_", " "), _told(number), number.n, number.unit) + ((number.explained,) if everything else ())
            for name, number in found.numbers[section].items()
            if everything or not name.endswith(("_low", "_high"))
        ]
        head = ("number", ">value", ">n", "unit")
        table(title, (*head, "definition") if everything else head, rows)
        why: dict[str, list[str]] = {}
        for name, number in found.numbers[section].items():
            if number.why_undefined and not everything and not name.endswith(("_low", "_high")):
                why.setdefault(number.why_undefined, []).append(name.replace("_", " "))
        tell(*(f"not computed: {', '.join(names)} ({reason})" for reason, names in why.items()))
    left: dict[str, list[str]] = {}
    for name, reason in found.left_out.items():
        left.setdefault(reason, []).append(name.replace("_", " "))
    tell(*(f"left out: {', '.join(names)} ({reason})" for reason, names in left.items()))
    for warning in found.warnings:
        tell(f"warning, {warning.name}: {warning.text}")


def _told(number: Number) -> str:
    """Four digits; of a probability that is nearly none or all, and of yes or no, what the report writes."""
    from vfl.factors.charts import measured_text, number_text

    said = measured_text(number.value, number.unit)
    return said if said[0] in "<>" or said in ("yes", "no") else number_text(number.value)


def _draw(found: Findings, folder: Path | None) -> None:
    """Every chart that the findings have, as SVG files named by their series."""
    from vfl.factors.report import chart_of, charted

    for key in charted(found) if folder is not None else ():
        assert folder is not None
        write_file(folder / f"{key}.svg", chart_of(found, key).encode())
        say(f"{folder / key}.svg is written.")


def write_file(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
