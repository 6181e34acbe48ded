"""The report of a screen at the label party: every formula that was tried, what was named, and by which hurdles."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from parties.agreement.document import Agreement
from parties.node.screen_won import Part, Parts
from parties.settlement.dossier_store import write_durably
from vfl.factors.hac import hac_definition, hac_lags
from vfl.models.screen.judge import SURE, Judged
from vfl.terms import ScreenModel

__all__ = [
    "MARKDOWN",
    "MOST_TOLD",
    "REPORT",
    "TABLE",
    "parts_of",
    "report_lines",
    "screen_counts",
    "screen_report",
    "write_report",
]

REPORT = "report.json"
MARKDOWN = "report.md"
TABLE = "formulas.csv"
_LEADING = 20

MOST_TOLD = 50
"""Named formulas that one party is told of."""


def screen_report(agreement: Agreement, found: Judged, own: Sequence[str]) -> dict[str, Any]:
    """The report, ready for JSON. own: the label party's own terminals in words."""
    terms, periods = agreement.model, agreement.periods
    assert isinstance(terms, ScreenModel)
    halves = [[periods[half[0]], periods[half[-1]], len(half)] for half in found.halves]
    lags = hac_lags(int(found.first.count.max(initial=0)), agreement.walk_forward.horizon)
    return {
        "run_id": agreement.run_id,
        "label": agreement.label.name,
        "n_trials": len(found.trials.formulas),
        "level": terms.level,
        "hurdle": terms.hurdle,
        "deflated_sharpe": SURE,
        "chosen_on": halves[0],
        "confirmed_on": halves[1],
        "numbers_left_out": found.trials.lost,
        "rule": _rule(terms, len(found.trials.formulas)),
        "t": hac_definition(lags),
        "named": [_line(found, trial, own) for trial in found.winners],
        "chosen": [_line(found, trial, own) for trial in found.order if found.chosen[trial]],
        "leading": [_line(found, trial, own) for trial in found.order[:_LEADING]],
    }


def screen_counts(found: Judged) -> dict[str, Any]:
    """What the coordinator may be told: counts alone, see :class:`parties.control.phase_reports.ScreenCounts`."""
    first, second = (len(half) for half in found.halves)
    return {name: asdict(passed) for name, passed in found.passed().items()} | {"first": first, "second": second}


def _rule(terms: ScreenModel, trials: int) -> str:
    return (
        f"Chosen on the first half: a false discovery rate of {terms.level:.0%} by Benjamini-Hochberg-Yekutieli over "
        f"all {trials} formulas, |t| above {terms.hurdle:g}, and a deflated Sharpe ratio of {SURE:.0%} or more with "
        f"{trials} trials. Named: also the same sign on the second half, one-sided p of {terms.level:.0%} or less "
        "after Holm among the chosen."
    )


def report_lines(found: Judged, group: Literal["named", "chosen"]) -> list[dict[str, Any]]:
    """Lines of a report's formulas that are named, or chosen; the label party's own terminals by number alone."""
    trials = found.winners if group == "named" else [trial for trial in found.order if found.chosen[trial]]
    return [_line(found, trial, ()) for trial in trials]


def _line(found: Judged, trial: int, own: Sequence[str]) -> dict[str, Any]:
    formula = found.formula(trial)
    # the label party's own terminals are known to it by name
    named = own[formula.other_number] if own and formula.other and formula.other not in _features(found) else ""
    return {
        "formula": f"{formula.party}#{formula.number} x {named}" if named else str(formula),
        "party": formula.party,
        "number": formula.number,
        "other": formula.other,
        "other_number": formula.other_number,
        "mean_first": _number(found.first.mean[trial]),
        "t_first": _number(found.first.t[trial]),
        "periods_first": int(found.first.count[trial]),
        "p": _number(found.p[trial]),
        "p_bhy": _number(found.p_bhy[trial]),
        "deflated_sharpe": _number(found.deflated[trial]),
        "mean_second": _number(found.second.mean[trial]),
        "t_second": _number(found.second.t[trial]),
        "periods_second": int(found.second.count[trial]),
        "p_second": _number(found.p_second[trial]),
        "chosen": bool(found.chosen[trial]),
        "named": bool(found.named[trial]),
    }


def _features(found: Judged) -> set[str]:
    """Feature parties with a terminal in it."""
    return {formula.party for formula in found.trials.formulas}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def parts_of(found: Judged, party: str) -> bytes:
    """What a feature party is told: the named formulas that it has a part in, the best ones, rounded.

    A party that makes its answers up would see in it what the label party decrypted, so it is told little.
    """
    parts = []
    for trial in found.winners:
        mine = found.formula(trial).mine(party)
        if mine is not None:
            number, other, other_number = mine
            parts.append(
                Part(
                    number=number,
                    other=other or None,
                    other_number=other_number,
                    mean=float(f"{found.first.mean[trial]:.3g}"),
                    t_first=round(float(found.first.t[trial]), 1),
                    t_second=round(float(found.second.t[trial]), 1),
                )
            )
    return Parts(trials=len(found.trials.formulas), parts=tuple(parts[:MOST_TOLD])).model_dump_json().encode()


def write_report(folder: Path, report: dict[str, Any], found: Judged, own: Sequence[str]) -> str:
    """Write JSON, Markdown and a CSV with every formula; the digest of the JSON."""
    text = json.dumps(report, indent=1, sort_keys=True)
    write_durably(folder / TABLE, _table(found, own))
    write_durably(folder / MARKDOWN, _markdown(report))
    write_durably(folder / REPORT, text)
    return hashlib.sha256(text.encode()).hexdigest()


def _table(found: Judged, own: Sequence[str]) -> str:
    lines = [_line(found, trial, own) for trial in range(len(found.trials.formulas))]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _markdown(report: dict[str, Any]) -> str:
    first, second = report["chosen_on"], report["confirmed_on"]
    named = report["named"]
    head = (
        f"{len(named)} formula{'s are' if len(named) != 1 else ' is'} named of {report['n_trials']} that were tried."
        if named
        else f"No formula is named of {report['n_trials']} that were tried."
    )
    lines = [
        f"# Screen of {report['label']}",
        "",
        head,
        "",
        report["rule"],
        f"Chosen on {first[0]} to {first[1]} ({first[2]} periods), confirmed on {second[0]} to {second[1]} "
        f"({second[2]} periods). t: {report['t']}.",
        f"{report['numbers_left_out']} numbers were left out because their window wrapped.",
        "",
        "Terminals have their owner's numbers, in an order and with signs that only the owner knows: the sign of a",
        "mean says nothing, and whose column it is the owner alone reads.",
    ]
    for title, rows in (("Named", named), ("Largest t on the first half", report["leading"])):
        if not rows:
            continue
        lines += ["", f"## {title}", "", "| formula | mean | t | BHY p | deflated Sharpe | t, second half |"]
        lines += ["|---|---:|---:|---:|---:|---:|"] + [
            f"| {row['formula']} | {_shown(row['mean_first'])} | {_shown(row['t_first'])} | {_shown(row['p_bhy'])} "
            f"| {_shown(row['deflated_sharpe'])} | {_shown(row['t_second'])} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
