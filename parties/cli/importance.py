"""``entente run importance``: which of its own columns a party's trees were split by, from what its node keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.runs import Run, proposed_run
from parties.errors import ConfigError
from parties.terminal.console import say, table

if TYPE_CHECKING:
    from parties.node.tree_splits import ColumnImportance

__all__ = ["run_importance"]

Home = Annotated[Path, typer.Option("--home", help="Folder of this party's node.")]


def run_importance(run: Run, home: Home) -> None:
    """Show which of a party's own columns the trees of a run were split by. All of it is and stays at its node."""
    from parties.node.earlier_runs import proposed_before
    from parties.node.settings import load_node_settings
    from parties.node.tree_splits import importance_of
    from vfl.tree_terms import TreesModel

    folder, settings = proposed_run(home, run), load_node_settings(home / "node.toml")
    agreement, me = proposed_before(home, folder.name), settings.party.name
    if agreement is None or not isinstance(agreement.model, TreesModel):
        raise ConfigError(
            f"run {folder.name[:12]} is not of sealed trees, whose splits alone are known to their owners by column"
        )
    found = importance_of(folder, me, agreement.party(me).columns)
    levels = found.trees * agreement.model.depth
    own = sum(column.splits for column in found.columns)
    say(f"Run {folder.name[:12]}: {found.trees} trees so far, {levels} splits; {own} of them by {me}'s columns.")
    if settings.party.whiten:
        say("whiten = true mixes columns a little: each is the direction nearest to the one it is named for.")
    _show("", "column", found.columns)
    if found.parties:
        _show("By party, which the label party alone sees", "party", found.parties)
    else:
        say("What a split gained opens to the label party alone; a split at the first level parts all rows.")


def _show(title: str, what: str, rows: Iterable[ColumnImportance]) -> None:
    table(
        title,
        (what, ">splits", ">at the first level", ">share of the gain"),
        ((one.name, one.splits, one.first, "-" if one.gain is None else f"{one.gain:.1%}") for one in rows),
    )
