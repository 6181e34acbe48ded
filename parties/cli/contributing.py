"""``entente contribution``: contributions from runs of coalitions, as the coordinator recorded them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.help_group import HelpGroup
from parties.cli.runs import Coordinator, Credentials, connect, full_id
from parties.errors import StorageError
from parties.plurals import things
from parties.private_files import write_whole
from parties.terminal.console import correlation, figure, say, table

if TYPE_CHECKING:
    from parties.settlement.coalition_runs import Retrained

__all__ = ["app", "contribution", "contribution_retrain"]

app = typer.Typer(cls=HelpGroup, help="Contributions from runs of coalitions.", no_args_is_help=True)


@app.callback()
def contribution() -> None:
    """Contributions from runs of coalitions."""


@app.command("retrain")
def contribution_retrain(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="A finished run of every coalition.")],
    coordinator: Coordinator = "",
    credentials: Credentials = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write every number.")] = None,
) -> None:
    """Compute exact Shapley values from a run per coalition: a model trained anew by each, only sums opened."""
    from parties.settlement.coalition_runs import retrained

    with connect(coordinator, credentials) as client:
        views = [client.run(run_id) for run_id in dict.fromkeys(full_id(client, run) for run in runs)]
    found = retrained(views)
    _show(found)
    if json_file is not None:
        try:
            write_whole(json_file, (json.dumps(found.record(), indent=2) + "\n").encode())
        except OSError as error:
            raise StorageError(f"{json_file}: cannot be written ({error.strerror}); check the folder") from None
        say(f"{json_file}: every number, by period too.")


def _show(found: Retrained) -> None:
    report = found.report
    table(
        "",
        ("coalition", "run"),
        ((", ".join(members), run[:12]) for members, run in found.runs.items()),
    )
    table(
        "",
        ("party", ">phi", ">SE", ">t", ">95 % from", ">to", ">leave one out", ">alone"),
        (
            (
                party,
                correlation(estimate.mean),
                figure(estimate.standard_error, ".4f"),
                figure(estimate.t, ".2f"),
                correlation(estimate.low),
                correlation(estimate.high),
                correlation(report.leave_one_out[party]),
                correlation(report.standalone[party]),
            )
            for party, estimate in report.estimates.items()
        ),
    )
    say(
        f"Rank IC over {things(report.n_periods, 'periods')} and {things(found.n_common, 'entities')}: all "
        f"{correlation(report.everyone)}, "
        f"label party alone {correlation(report.nobody)}; the phis share out {correlation(report.total)}.",
        f"{report.definition} Standard errors are Newey-West. Nothing was booked.",
    )
