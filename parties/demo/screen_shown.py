"""What a demo of a screen leaves behind: ``summary.json``, and a closing table of formulas in their owners' words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parties.agreement.document import Agreement
from parties.client import LedgerView, RunView
from parties.demo.processes import Child
from parties.demo.summary import run_summary, traffic_lines
from parties.plurals import things
from parties.terminal.console import figure, say, table

__all__ = ["screen_summary", "show_screen"]


def screen_summary(
    agreement: Agreement,
    view: RunView,
    ledger: LedgerView,
    twin: Mapping[str, Any],
    *,
    started: Mapping[str, Child],
    folder: Path,
) -> dict[str, Any]:
    """The record of one settled screen.

    screen: formulas tried, those that are named and those of the largest t on the first half, in words; furthest: the
    largest difference of a t to the same sums in plain numbers, None when it was not checked. Rest as in any demo.
    """
    found = {name: twin[name] for name in ("formulas", "named", "leading", "furthest", "cause")}
    return run_summary(agreement, view, ledger, started) | {"screen": found, "report_dir": str(folder)}


def show_screen(summary: Mapping[str, Any], agreement: Agreement) -> None:
    """The same for people."""
    found, used = summary["screen"], summary["openings"]
    named = {row["formula"] for row in found["named"]}
    rows = found["named"] + [row for row in found["leading"] if row["formula"] not in named]
    table(
        f"{len(named)} of {things(found['formulas'], 'formulas')} {'is' if len(named) == 1 else 'are'} named",
        ("formula", ">mean", ">t, first half", ">p (BHY)", ">t, second half", "named"),
        (
            (
                row["formula"],
                figure(row["mean_first"], "+.3f"),
                figure(row["t_first"], ".1f"),
                figure(row["p_bhy"], ".1g"),
                figure(row["t_second"], ".1f"),
                "yes" if row["named"] else "",
            )
            for row in rows
        ),
    )
    say(
        "Only a demo can say whose columns these are: in a run each owner reads its own, and nobody else any.",
        *traffic_lines(
            summary, f"each in {things(used['max_used'] or 0, 'label vectors')} at most, {used['limit']} agreed"
        ),
    )
    if found["furthest"] is not None:
        say(f"Largest difference of a t to the same sums in plain numbers: {found['furthest']:.1g}")
    say(
        f"At {agreement.label.party}: entente run screen {summary['run_id'][:12]} --home {_home(summary)}",
        f"Report: {summary['report_dir']}",
    )


def _home(summary: Mapping[str, Any]) -> Path:
    return Path(summary["report_dir"]).parents[1]
