"""``entente bench``: speed, bytes and memory of the encrypted parts on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import StorageError
from parties.terminal.console import say, table

__all__ = [
    "app",
    "bench_federated",
    "bench_product",
    "bench_psi",
    "bench_ridge",
    "bench_screen",
    "bench_sealed",
    "bench_train",
    "bench_trees",
]

app = typer.Typer(cls=HelpGroup, help="Measure speed, bytes and memory on this machine.", no_args_is_help=True)

Rows = Annotated[int, typer.Option(min=1, max=10_000_000, help="Rows of the data set.")]
Batch = Annotated[int, typer.Option(min=1, max=8192, help="Rows of one step.")]
Features = Annotated[int, typer.Option(min=1, max=512, help="Columns of each feature party.")]
Hidden = Annotated[int, typer.Option(min=1, max=64, help="Embedding width.")]
Parties = Annotated[int, typer.Option(min=1, max=8, help="Feature parties.")]
Steps = Annotated[int, typer.Option(min=1, max=100_000, help="Steps to time, after one to warm up.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write every figure here.")]


@app.command("product")
def bench_product(rows: Rows = 512, features: Features = 32, hidden: Hidden = 8, json_file: Json = None) -> None:
    """One private product, both sides in one process, against raw SEAL operations, Paillier and numpy."""
    from parties.bench.product import bench_product as measure

    figures = measure(rows, features, hidden)
    table(
        f"X ({rows} x {features}) @ Y ({features} x {hidden}), {figures['parameter_set']}, blocks {figures['packing']}",
        ("way", ">rows/s"),
        (
            ("this product, one core", f"{figures['rows_per_second']:,.0f}"),
            ("Paillier, 3072 bits (phe), one core", f"{figures['paillier_rows_per_second']:,.3f}"),
            ("numpy in the clear, exact mod t", f"{figures['numpy_rows_per_second']:,.0f}"),
        ),
    )
    say(f"{1000 * figures['seconds']:.1f} ms, of which raw SEAL operations {figures['share_of_raw']:.0%}")
    table("", ("SEAL operation", ">ms"), ((name, f"{value:.3f}") for name, value in figures["milliseconds"].items()))
    _keep(figures, json_file)


@app.command("train")
def bench_train(
    rows: Rows = 8192,
    batch: Batch = 512,
    features: Features = 32,
    hidden: Hidden = 8,
    parties: Parties = 1,
    steps: Steps = 20,
    json_file: Json = None,
) -> None:
    """Encrypted training steps, forward and backward, every party in a process of its own over mutual TLS."""
    from parties.bench.train import Shape
    from parties.bench.train import bench_train as measure

    figures = measure(Shape(max(rows, batch), batch, features, hidden, parties, steps))
    say(
        f"{parties} feature part{'y' if parties == 1 else 'ies'}, batch {batch}, {features} columns -> {hidden}: "
        f"{figures['rows_per_second']:,.0f} rows/s ({figures['milliseconds_per_step']:.1f} ms a step), "
        f"raw SEAL operations {figures['share_of_raw']:.0%} of it"
    )
    say(
        f"beside it: PyTorch in the clear {figures['plain_torch_rows_per_second']:,.0f} rows/s, "
        f"Paillier (phe, 3072 bits) {figures['paillier_rows_per_second']:.4f} rows/s"
    )
    _show_costs(figures, ("bytes_per_row_to_features", "bytes_per_row_to_label"))
    _keep(figures, json_file)


@app.command("ridge")
def bench_ridge(
    rows: Rows = 100_000,
    batch: Batch = 8192,
    features: Features = 32,
    parties: Parties = 2,
    json_file: Json = None,
) -> None:
    """Joint ridge from secure cross-moments: all rows once, one solution, one block of scores."""
    from parties.bench.ridge import bench_ridge as measure
    from parties.bench.train import Shape

    figures = measure(Shape(max(rows, batch), batch, features, 1, parties, 1))
    say(
        f"{parties} feature parties x {features} columns, {rows:,} rows: {figures['seconds']:.1f} s, "
        f"{figures['rows_per_second']:,.0f} rows/s; largest difference to pooled ridge in a score "
        f"{figures['largest_score_difference']:.1e}"
    )
    _show_costs(figures, ("bytes_per_row",))
    _keep(figures, json_file)


@app.command("sealed")
def bench_sealed(
    rows: Rows = 8192,
    batch: Batch = 4096,
    features: Features = 32,
    hidden: Hidden = 8,
    parties: Parties = 1,
    own: Annotated[int, typer.Option(min=0, max=512, help="Columns of the label party.")] = 0,
    steps: Steps = 10,
    json_file: Json = None,
) -> None:
    """Training steps of the sealed network, every party in a process of its own over mutual TLS, beside the split's."""
    from parties.bench.sealed import SealedShape
    from parties.bench.sealed import bench_sealed as measure

    figures = measure(SealedShape(max(rows, batch), batch, features, hidden, parties, steps, own))
    split = figures["split"]
    table(
        f"{parties} feature part{'y' if parties == 1 else 'ies'}, batch {batch}, {features} columns -> {hidden} + 1",
        ("training step", ">rows/s", ">ms", ">raw SEAL operations", "opens"),
        (
            (
                "sealed", f"{figures['rows_per_second']:,.0f}", f"{figures['milliseconds_per_step']:.0f}",
                f"{figures['share_of_raw']:.0%} of one core", "nothing",
            ),
            (
                "split", f"{split['rows_per_second'] / parties:,.0f}", f"{split['milliseconds_per_step']:.0f}",
                f"{split['share_of_raw']:.0%} of the time", "sums of embeddings",
            ),
        ),
    )  # fmt: skip
    say(f"every side on one core, without a network: {figures['one_core_rows_per_second']:,.0f} rows/s")
    say(*(f"bytes per row from {name}: {size:,.0f}" for name, size in figures["bytes_per_row"].items()))
    _show_costs(figures, ())
    _keep(figures, json_file)


@app.command("trees")
def bench_trees(
    rows: Rows = 50_000,
    features: Features = 32,
    parties: Parties = 3,
    depth: Annotated[int, typer.Option(min=1, max=6, help="Levels of a tree.")] = 4,
    blocks: Annotated[int, typer.Option(min=1, max=64, help="Trees draw one of so many blocks of the rows.")] = 1,
    trees: Annotated[int, typer.Option(min=1, help="Trees to time, after one to warm up.")] = 3,
    json_file: Json = None,
) -> None:
    """Sealed trees, every party in a process of its own over mutual TLS, beside boosting in the clear."""
    from parties.bench.trees import TreesShape
    from parties.bench.trees import bench_trees as measure

    figures = measure(TreesShape(rows, features, parties, depth, trees, blocks=blocks))
    parts = [(name, f"{seconds:.2f}") for name, seconds in figures["parts"].items()]
    table(
        f"{parties} feature part{'y' if parties == 1 else 'ies'}, {rows:,} rows, {features} columns, depth {depth}, "
        f"blocks {blocks}",
        ("a tree", ">seconds"),
        [("whole", f"{figures['seconds_per_tree']:.2f}"), *parts],
    )
    say(*(f"in the clear, one core: {name} {value:.3f} s" for name, value in figures["in_the_clear"].items()))
    say(f"CPU of all sides, their start included: {figures['cpu_seconds_per_tree']:.1f} s a tree")
    say(*(f"bytes per tree from {name}: {size:,.0f}" for name, size in figures["bytes_per_tree"].items()))
    _show_costs(figures, ())
    _keep(figures, json_file)


@app.command("screen")
def bench_screen(
    entities: Annotated[int, typer.Option(min=10, max=100_000, help="Rows of a period.")] = 500,
    periods: Annotated[int, typer.Option(min=30, max=10_000, help="Periods.")] = 100,
    terminals: Annotated[int, typer.Option(min=1, max=512, help="Terminals of each feature party.")] = 100,
    parties: Parties = 2,
    json_file: Json = None,
) -> None:
    """A screen of formulas with one planted product, every party in a process of its own over mutual TLS."""
    from parties.bench.screen import ScreenShape
    from parties.bench.screen import bench_screen as measure

    figures = measure(ScreenShape(entities, periods, terminals, parties))
    say(
        f"{parties} feature part{'y' if parties == 1 else 'ies'} x {terminals} terminals, {entities * periods:,} rows "
        f"in {periods} periods: {figures['products']:,} products and {parties * terminals} terminals in "
        f"{figures['seconds']:.1f} s, judged in {figures['judging_seconds']:.1f} s",
        f"named: {', '.join(figures['named']) or 'nothing'} (planted: the first terminals); "
        f"{figures['numbers_left_out']} numbers left out",
    )
    say(*(f"bytes from {name}: {size:,.0f}" for name, size in figures["bytes"].items()))
    _show_costs(figures, ())
    _keep(figures, json_file)


@app.command("federated")
def bench_federated(
    members: Annotated[int, typer.Option(min=2, max=16, help="Members, with the same columns.")] = 4,
    rows: Annotated[int, typer.Option(min=10, max=1_000_000, help="Rows of each member.")] = 500,
    features: Annotated[int, typer.Option(min=1, max=512, help="Columns.")] = 16,
    hidden: Annotated[int, typer.Option(min=0, max=1024, help="Tanh units of the network; 0: a linear model.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds.")] = 10,
    json_file: Json = None,
) -> None:
    """Federated averaging by secure sums, every member in a process of its own over mutual TLS."""
    from parties.bench.federated import FederatedShape
    from parties.bench.federated import bench_federated as measure

    figures = measure(FederatedShape(members, rows, features, hidden, rounds))
    say(
        f"{members} members, {rows:,} rows each, {figures['weights']:,} weights: "
        f"{figures['seconds_per_round']:.2f} s a round, local epochs included; largest difference to plain averaging "
        f"{figures['largest_difference']:.1e}"
    )
    say(*(f"bytes per round from {name}: {size:,.0f}" for name, size in figures["bytes_per_round"].items()))
    _show_costs(figures, ())
    _keep(figures, json_file)


@app.command("psi")
def bench_psi(
    protocol: Annotated[str, typer.Option(metavar="ring|ot", help="How the sets are compared.")] = "ot",
    ids: Annotated[int, typer.Option(min=1, max=100_000_000, help="Ids of each party, four fifths common.")] = 100_000,
    parties: Annotated[int, typer.Option(min=2, max=16, help="Parties, the label party among them.")] = 2,
    workers: Annotated[
        int, typer.Option(min=0, max=256, help="Processes a party of the ring computes in; 0: its own.")
    ] = 0,
    json_file: Json = None,
) -> None:
    """Entity alignment, every party in a process of its own over mutual TLS, beside what other libraries take."""
    from parties.bench.psi import PsiShape
    from parties.bench.psi import bench_psi as measure

    if protocol not in ("ring", "ot"):
        raise typer.BadParameter(f"{protocol!r} is neither ring nor ot", param_hint="--protocol")
    figures = measure(PsiShape("ring" if protocol == "ring" else "ot", ids, parties, workers))
    table(
        f"{parties} parties of {ids:,} ids, {figures['common']:,} common",
        ("way", ">ids", ">seconds", ">MB in all", "measured by"),
        (
            (
                f"entente, {protocol}", f"{ids:,}", f"{figures['seconds']:.2f}", f"{figures['bytes'] / 1e6:.1f}",
                "this command",
            ),
            *(
                (f"{one['library']}, {one['protocol']}, two parties", f"{one['ids']:,}", f"{one['seconds']:g}", "",
                 one["command"])
                for one in figures["elsewhere"]
            ),
        ),
    )  # fmt: skip
    _show_costs(figures, ())
    _keep(figures, json_file)


def _show_costs(figures: dict[str, Any], sizes: tuple[str, ...]) -> None:
    say(*(f"{name.replace('_', ' ')}: {figures[name]:,.0f}" for name in sizes))
    table(
        "",
        ("process", ">peak MiB", ">CPU s"),
        (
            (name, f"{figures['peak_rss_mb'][name]:.0f}", f"{figures['cpu_seconds'][name]:.1f}")
            for name in figures["peak_rss_mb"]
        ),
    )


def _keep(figures: dict[str, Any], path: Path | None) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name another file") from None
