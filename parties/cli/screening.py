"""``entente run screen``: what a screen of formulas found, at the label party or at the owner of a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from parties.cli.runs import Run, proposed_run
from parties.errors import ConfigError, StorageError
from parties.plurals import things
from parties.terminal.console import say, table

__all__ = ["run_screen"]

Home = Annotated[Path, typer.Option("--home", help="Folder of this party's node.")]


def run_screen(run: Run, home: Home) -> None:
    """Show the named formulas of a screen: all of them at the label party, at an owner those with terminals of its own.

    A screen is proposed like any run, with [model] kind = "screen" in its terms: entente run template --kind screen.
    """
    from parties.node.earlier_runs import proposed_before
    from parties.node.screen_won import kept_won
    from parties.node.settings import load_node_settings
    from vfl.terms import ScreenModel

    folder, settings = proposed_run(home, run), load_node_settings(home / "node.toml")
    agreement = proposed_before(home, folder.name)
    if agreement is None or not isinstance(agreement.model, ScreenModel):
        raise ConfigError(f"run {folder.name[:12]} is no screen of formulas: name one whose model.kind is screen")
    if settings.party.role == "label":
        _show_report(home / "screens" / folder.name[:12], agreement.label.party)
        return
    kept = kept_won(folder)
    if kept is None:
        raise ConfigError(f"run {folder.name[:12]} has told this node of no formulas: it has not come to its end here")
    trials, lines = kept
    if not lines:
        say(f"None of {things(trials, 'formulas')} is named with a terminal of yours.")
        return
    say(f"{_named(len(lines), trials)} with a terminal of yours. Their names are at this node alone.")
    table(
        "",
        ("your terminal", "times", ">mean", ">t, first half", ">t, second half"),
        ((one.terminal, one.other or "-", *map(_shown, (one.mean, one.t_first, one.t_second))) for one in lines),
    )


def _show_report(folder: Path, label: str) -> None:
    from parties.node.screen_report import MARKDOWN, REPORT
    from vfl.product_terms import MOST_PRODUCTS

    path = folder / REPORT
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist: the screen has not come to its end here") from None
    except (OSError, ValueError):
        raise StorageError(f"{path}: damaged; restore it from a backup") from None
    named, trials = report["named"], report["n_trials"]
    if named:
        say(f"{_named(len(named), trials)}. {report['rule']}")
    else:
        say(f"No formula is named of {trials:,} that were tried. {report['rule']}")
    for title, rows in (("Named", named), ("Largest t on the first half", report["leading"])):
        if not rows:
            continue
        table(
            title,
            ("formula", ">mean", ">t, first half", ">p (BHY)", ">deflated Sharpe", ">t, second half"),
            (
                (
                    one["formula"],
                    *(_shown(one[name]) for name in ("mean_first", "t_first", "p_bhy", "deflated_sharpe", "t_second")),
                )
                for one in rows
            ),
        )
    products = [one["formula"] for one in named if one["other"] not in ("", label)]
    if products:
        say(
            "A named product of two other parties can be a column of a sealed run: [model.products] with screen = "
            f'"{report["run_id"]}" and formulas = {json.dumps(products[:MOST_PRODUCTS])}'
        )
    say(f"All formulas: {folder / 'formulas.csv'}; the report: {folder / MARKDOWN}")


def _named(count: int, trials: int) -> str:
    return f"{count} of {things(trials, 'formulas')} {'is' if count == 1 else 'are'} named"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
