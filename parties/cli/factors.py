"""``entente factors``: look at factors, take them to other tools, and judge them at home."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from parties.cli.checks import factors as app
from parties.errors import ConfigError, DataError, StorageError
from parties.factor.formats import Format
from parties.terminal.console import correlation, say, table

if TYPE_CHECKING:
    from parties.factor.tables import FactorFolder
    from vfl.factors.findings import Findings

__all__ = [
    "app",
    "factors_compare",
    "factors_export",
    "factors_list",
    "factors_monitor",
    "factors_show",
    "factors_uplift",
    "factors_validate",
]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The bundle: the folder that holds SHA256SUMS.")]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels", metavar="FILE", help="CSV or Parquet: datetime, instrument, label. Stays on this machine."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write every number as JSON.")]


@app.command("list")
def factors_list(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, with all folders below.")] = Path(),
) -> None:
    """List the factor bundles below a folder."""
    from parties.factor.tables import find_folders, open_folder, superseding

    folders, faults = [], []
    for path in find_folders(root):
        try:
            folders.append(open_folder(path))
        except DataError as fault:
            faults.append(str(fault))
    say(*(f"fault: {fault}" for fault in faults))
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
                correlation(_joint(folder)["mean"]),
                "-" if _joint(folder)["t"] is None else f"{_joint(folder)['t']:.1f}",
                ", ".join(dict.fromkeys(w.name for w in folder.findings.warnings))
                if folder.findings
                else "not checked",
                folder.path,
            )
            for folder in folders
        ),
    )


@app.command("show")
def factors_show(
    folder: Folder,
    everything: Annotated[bool, typer.Option("--all", help="Every number with its definition.")] = False,
    charts: Annotated[
        Path | None, typer.Option("--charts", metavar="FOLDER", help="Also write each chart of the report as SVG.")
    ] = None,
) -> None:
    """Show what a factor is, how good it was and what to beware of."""
    from parties.factor.tables import open_folder, superseding

    bundle = open_folder(folder)
    told, newer = bundle.metadata, superseding(folder)
    say(
        f"{bundle.name}: {told['label_name']} ({told['label_definition']})",
        f"{told['n_rows']} scores of {told['n_instruments']} instruments on {told['n_dates']} dates, "
        f"{told['date_range']['first']} to {told['date_range']['last']}, horizon {told['horizon']} periods",
        f"Universe: {told['universe']}. Parties: {', '.join(told['parties'])}. Trials: {told['n_trials']}.",
        f"Signed by {', '.join(bundle.signers)}." if bundle.signers else "Signed by nobody.",
    )
    before = told.get("supersedes")
    if before:
        say(f"Supersedes version {before['version']}: {before['why']}.")
    if newer:
        say(f"Superseded by version {newer}, which lies beside it.")
    joint = _joint(bundle)
    say(f"Rank IC {correlation(joint['mean'])} over {joint['n_periods']} periods, out of sample: "
        f"{bundle.validation['out_of_sample']}")  # fmt: skip
    if bundle.findings is None:
        say("The bundle holds no battery: make one with entente factors validate.")
    else:
        _show(bundle.findings, everything=everything)
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
    _write(out, written.content)
    say(f"{out} is written ({written.hint.format(name=out.name)}).")


@app.command("compare")
def factors_compare(
    folder: Folder, other: Annotated[Path, typer.Argument(metavar="OTHER", help="Another one.")]
) -> None:
    """Compare two bundles: what they are, how good they were, how alike their scores are."""
    from parties.factor.tables import open_folder
    from vfl.factors.evaluate import ic_by_period
    from vfl.factors.hac import hac_mean
    from vfl.factors.market import on_grid

    one, two = open_folder(folder), open_folder(other)
    keys = ("factor_id", "version", "label_name", "horizon", "universe", "n_rows", "n_trials", "parties", "date_range")
    rows = [(k, str(one.metadata[k]), str(two.metadata[k])) for k in keys if one.metadata[k] != two.metadata[k]]
    first_joint, second_joint = _joint(one), _joint(two)
    rows.append(("rank IC", correlation(first_joint["mean"]), correlation(second_joint["mean"])))
    rows.append(("t", correlation(first_joint["t"]), correlation(second_joint["t"])))
    table("", ("", one.name, two.name), rows)
    shared = one.dates.intersection(two.dates)
    names = tuple(sorted({*one.instruments} & {*two.instruments}))
    if not len(shared) or not names:
        say("They share no date or no instrument.")
        return
    first, second = (on_grid(bundle.factor["score"], shared, names) for bundle in (one, two))
    same = hac_mean(ic_by_period(first, second), horizon=1)
    say(
        f"On {len(shared)} shared dates and {len(names)} shared instruments the scores' mean rank correlation is "
        f"{correlation(None if same.n_periods == 0 else same.mean)} ({same.n_periods} dates with 10 scores in both)."
    )


@app.command("uplift")
def factors_uplift(
    folder: Folder,
    own: Annotated[
        Path, typer.Option("--own", metavar="FILE", help="Your own factor: datetime, instrument, score. Stays at home.")
    ],
    labels: Labels = None,
    out: Out = None,
) -> None:
    """Say what the joint factor adds to your own. Nothing leaves this machine."""
    from parties.factor.tables import open_folder, read_values
    from vfl.factors.findings import Findings
    from vfl.factors.joining import overlap_findings, uplift_findings

    bundle = open_folder(folder)
    mine = bundle.grid(read_values(own, "score"))
    _some_rows(own, mine, bundle)
    if labels is None:
        reason = "no labels were given: name them with --labels FILE"
        found = overlap_findings(bundle.scores, mine)
        found |= Findings(left_out=dict.fromkeys(("rank_ic_difference", "mmc", "encompassing"), reason))
    else:
        truth = bundle.grid(read_values(labels, "label"))
        _some_rows(labels, truth, bundle)
        found = uplift_findings(bundle.scores, mine, truth, _names(bundle), horizon=bundle.horizon)
    _show(found, everything=True)
    _write_record(out, found.record())


@app.command("monitor")
def factors_monitor(
    folder: Folder,
    labels: Annotated[
        Path, typer.Option("--labels", metavar="FILE", help="datetime, instrument, label, as far as they have arrived.")
    ],
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Later scores (factor.parquet of a newer version, or a table)."),
    ] = None,
    window: Annotated[int, typer.Option(min=2, help="Labelled periods in the rolling mean.")] = 12,
    out: Out = None,
) -> None:
    """Score a published factor as labels arrive: against its expected band, with drift and an advice."""
    import pandas as pd

    from parties.factor.tables import open_folder, read_values
    from vfl.factors.market import on_grid
    from vfl.factors.monitor import Expectation, monitor

    bundle = open_folder(folder)
    joint = _joint(bundle)
    if joint["mean"] is None or joint["std"] is None:
        raise DataError(f"{folder}: fewer than two periods were evaluated, so there is nothing to expect")
    live = bundle.factor["score"]
    if scores is not None:
        later = read_values(scores, "score")
        live = pd.concat([live[~live.index.isin(later.index)], later])
    days = pd.DatetimeIndex(live.index.get_level_values("datetime").unique()).sort_values()
    if "sessions" not in bundle.validation:
        raise DataError(f"{folder}: made by an earlier version that does not date its ICs; export the factor again")
    published = zip(bundle.validation["sessions"], joint["by_period"], strict=True)
    days = days[days > max(day for day, ic in published if ic is not None)]
    if not len(days):
        raise DataError(
            f"{folder}: every date was evaluated before it was published; give later scores with --scores FILE"
        )
    names = tuple(sorted({*bundle.instruments, *live.index.get_level_values("instrument").astype(str)}))
    grid = on_grid(live, days, names)
    truth = on_grid(read_values(labels, "label"), days, names)
    expected = Expectation(
        joint["mean"], joint["std"], joint["n_periods"], bundle.horizon, bundle.scores[bundle.dates < days[0]]
    )
    found = monitor(grid, truth, tuple(f"{day:%Y-%m-%d}" for day in days), expected, window=window)
    _show(replace(found.findings, warnings=()), everything=True)
    say(f"Advice: {found.advice.action}.", *found.advice.reasons)
    _write_record(out, found.findings.record() | {"advice": found.advice.action, "reasons": list(found.advice.reasons)})


@app.command("validate")
def factors_validate(
    folder: Folder,
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="datetime, instrument, label.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for report.html and validation.json.")],
    market: Annotated[
        Path | None,
        typer.Option(
            "--market",
            metavar="FILE",
            help="datetime, instrument, price, sector, cap, beta, volatility, dollar_volume, style_*, library_*.",
        ),
    ] = None,
    own: Annotated[Path | None, typer.Option("--own", metavar="FILE", help="Your own factor, to compare with.")] = None,
    cost_bps: Annotated[float, typer.Option(min=0, help="Cost per unit traded, in basis points.")] = 10.0,
) -> None:
    """Run the whole battery at home, with prices and whatever else you have, and write its report."""
    import numpy as np

    from parties.factor.tables import bundle_files, open_folder, read_market, read_values
    from vfl.factors.market import MarketData
    from vfl.factors.portfolio import BookTerms
    from vfl.factors.report import render_report
    from vfl.factors.trials import FILE, read_trials
    from vfl.factors.validation import Subject, battery

    bundle = open_folder(folder)
    truth = bundle.grid(read_values(labels, "label"))
    _some_rows(labels, truth, bundle)
    trials = read_trials(bundle_files(folder)[FILE]) if (folder / FILE).is_file() else ()
    days = bundle.dates
    gap = float(np.median(np.diff(days) / np.timedelta64(1, "D"))) if len(days) > 1 else 365.25
    subject = Subject(
        _names(bundle),
        bundle.scores,
        truth,
        bundle.horizon,
        known_from=_known_from(bundle),
        own=None if own is None else bundle.grid(read_values(own, "score")),
        label_unit="label",
    )
    found = battery(
        subject,
        MarketData() if market is None else read_market(market, bundle),
        BookTerms(cost_bps=cost_bps, periods_per_year=365.25 / gap),
        trials=trials,
        n_trials=int(bundle.metadata["n_trials"]),
    )
    facts = {"label": bundle.metadata["label_definition"], "labels from": labels.name, "run": bundle.metadata["run_id"]}
    _write(out / "report.html", render_report(f"{bundle.name}, checked at home", facts, found))
    _write_record(out / "validation.json", found.record())
    _show(found, everything=False)
    say(f"{out / 'report.html'} is written.")


def _joint(bundle: FactorFolder) -> dict[str, Any]:
    summary: dict[str, Any] = bundle.validation["models"]["joint"]["rank"]
    return summary


def _known_from(bundle: FactorFolder) -> Any:
    """Labels count as known one horizon after their date, (T, n)."""
    import numpy as np

    count = len(bundle.dates)
    known = np.minimum(np.arange(count) + bundle.horizon, count).astype(np.int64)
    return np.repeat(known[:, None], len(bundle.instruments), axis=1)


def _names(bundle: FactorFolder) -> tuple[str, ...]:
    return tuple(f"{day:%Y-%m-%d}" for day in bundle.dates)


def _some_rows(path: Path, values: Any, bundle: FactorFolder) -> None:
    """Refuse a table that has nothing on the factor's grid."""
    import numpy as np

    if not np.isfinite(values).any():
        raise DataError(
            f"{path}: no row is of a date and instrument of {bundle.name} ({bundle.dates[0]:%Y-%m-%d}, "
            f"{bundle.instruments[0]}, ...): use its decision sessions and its identifiers"
        )


def _show(found: Findings, *, everything: bool) -> None:
    """Numbers by section, warnings, and what was left out."""
    from vfl.factors.charts import number_text
    from vfl.factors.report import section_titles

    for section, title in section_titles(found).items():
        rows = [
            (name.replace("_", " "), number_text(number.value), number.n, number.unit)
            + ((number.definition,) if everything else ())
            for name, number in found.numbers[section].items()
            if everything or not name.endswith(("_low", "_high"))
        ]
        head = ("number", ">value", ">n", "unit")
        table(title, (*head, "definition") if everything else head, rows)
    for name, reason in found.left_out.items():
        say(f"left out: {name.replace('_', ' ')} ({reason})")
    for warning in found.warnings:
        say(f"warning, {warning.name}: {warning.text}")


def _draw(found: Findings, folder: Path | None) -> None:
    """Every chart that the findings have, as SVG files named by their series."""
    from vfl.factors.report import chart_of, charted

    for key in charted(found) if folder is not None else ():
        assert folder is not None
        _write(folder / f"{key}.svg", chart_of(found, key).encode())
        say(f"{folder / key}.svg is written.")


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None


def _write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    if path is not None:
        _write(path, (json.dumps(record, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())
