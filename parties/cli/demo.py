"""``entente demo`` and ``entente simulate``: a whole consortium on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parties.errors import ConfigError
from parties.private_files import whole_or_nothing
from parties.terminal.console import pasted, say

__all__ = ["compare", "demo", "simulate"]

Entities = Annotated[int, typer.Option(help="Companies that all simulated parties cover.")]
Periods = Annotated[int, typer.Option(help="Weekly decision periods.")]
Parties = Annotated[int, typer.Option(help="Simulated feature parties.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same simulated data and same initial weights.")]
Kind = Annotated[
    Literal["sealed", "split"],
    typer.Option(help="Kind of model of the simulated consortium: sealed opens nothing of a row but its score."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]


def demo(
    config: Annotated[
        Path | None, typer.Option("--config", help="consortium.toml of your own; by default data is simulated.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder that ${data} stands for in its SQL.")] = None,
    out: Out = Path("demo-out"),
    entities: Entities = 500,
    periods: Periods = 104,
    parties: Parties = 3,
    seed: Seed = 7,
    model: Kind = "sealed",
    check_parity: Annotated[
        bool, typer.Option("--check-parity/--no-check-parity", help="Compare with the same run without encryption.")
    ] = True,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave the coordinator up afterwards, until Ctrl-C.")
    ] = False,
) -> None:
    """Run a whole consortium on this machine: real processes and encryption, from alignment to the settled ledger."""
    from parties.demo.run import DemoOptions, run_demo

    if (config is None) != (data is None):
        given, other = ("--config", "--data") if data is None else ("--data", "--config")
        raise ConfigError(f"{given} needs {other} beside it: a consortium is its settings and its data")
    run_demo(
        DemoOptions(
            config=config,
            data=data,
            out=out,
            entities=entities,
            periods=periods,
            parties=parties,
            seed=seed,
            model=model,
            check_parity=check_parity,
            keep_running=keep_running,
        )
    )


def compare(
    out: Path,
    factor: Path,
    parity: Annotated[bool, typer.Option("--parity")] = False,
    retrain: Annotated[bool, typer.Option("--retrain", help="Also train every coalition anew.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent")] = False,
) -> None:
    """Part of the demo: the plaintext twin of a finished run."""
    from parties.cli.parent import follow_parent
    from parties.demo.compare import write_comparison

    if with_parent:
        follow_parent()
    write_comparison(out, factor, parity=parity, retrain=retrain)


def simulate(
    out: Out,
    entities: Entities = 500,
    periods: Periods = 104,
    parties: Parties = 3,
    seed: Seed = 7,
    signal: Annotated[
        Literal["mixed", "products"],
        typer.Option(help="products: all signal lies in products of two parties' columns."),
    ] = "mixed",
    model: Kind = "sealed",
    text: Annotated[
        bool, typer.Option("--text", help="The social fund brings posts instead of numbers ([party.text]).")
    ] = False,
    further: Annotated[
        int, typer.Option("--further", min=0, max=260, help="Weeks that the files go on for after the terms' last.")
    ] = 0,
) -> None:
    """Write a simulated consortium: settings, SQL, alias tables and messy data with a signal of known size."""
    from parties.data.simulate import simulate as write

    with whole_or_nothing(out):
        made = write(
            out,
            entities=entities,
            periods=periods,
            parties=parties,
            seed=seed,
            signal=signal,
            model=model,
            text=text,
            further=further,
        )
    say(
        f"{made.config} and {made.data} are written.",
        f"Run it: entente demo --config {pasted(made.config)} --data {pasted(made.data)}",
    )
