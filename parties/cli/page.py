"""``entente ui``: the web page, and how people get in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from parties.cli.help_group import HelpGroup
from parties.cli.joining import duration
from parties.cli.runs import Coordinator
from parties.errors import ConfigError
from parties.terminal.console import pasted, say

__all__ = ["app", "ui", "ui_enrol", "ui_token"]

app = typer.Typer(
    cls=HelpGroup, help="Serve the coordinator's web page, and let people in.", invoke_without_command=True
)

Home = Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")]


@app.callback()
def ui(
    context: typer.Context,
    coordinator: Coordinator = "",
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials",
            metavar="DIR",
            envvar="ENTENTE_DESK",
            help="The desk's folder: its TLS key and roster.json.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of a demo: its coordinator is started if it is not up.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the web page, on this machine only.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    base_path: Annotated[
        str,
        typer.Option(
            "--base-path",
            envvar="STREAMLIT_SERVER_BASE_URL_PATH",
            help="Path below which a proxy serves the page, such as /desk.",
        ),
    ] = "",
    secrets: Annotated[
        Path | None,
        typer.Option("--secrets", help="Streamlit's secrets.toml, whose [auth] names an identity provider."),
    ] = None,
) -> int | None:
    """Open the coordinator's web page: runs, live progress, factors, the ledger."""
    from parties.demo.page import show_page

    if context.invoked_subcommand is not None:
        return None
    if (credentials is None) == (out is None):
        raise ConfigError("name whose coordinator to show: --out DIR of a demo, or --credentials DIR of the desk")
    return show_page(
        coordinator=coordinator,
        credentials=credentials,
        out=out,
        port=port,
        browser=browser,
        base_path=base_path,
        secrets=secrets,
    )


@app.command("token")
def ui_token(
    home: Home,
    name: Annotated[str, typer.Option("--name", help="The person, as logs and lists will call them.")],
    role: Annotated[
        Literal["admin", "operator", "auditor", "reader"], typer.Option("--role", help="What they may do.")
    ],
    party: Annotated[str, typer.Option("--party", help="The party an operator works for.")] = "",
    valid: Annotated[str, typer.Option("--valid", help="How long it can be used: 15m, 1h, 1d.")] = "15m",
) -> None:
    """Print a token with which one person signs in to the web page, once. Hand it over on a private channel."""
    from parties.coordinator.desk.granting import grant_token

    say(grant_token(home, name=name, role=role, party=party, valid=duration(valid)))
    typer.echo(
        f"For {name} ({role}{f' of {party}' if party else ''}), once, within {valid}: open the page that "
        "entente ui serves, such as http://localhost:8501, and paste the line above.",
        err=True,
    )


@app.command("enrol")
def ui_enrol(
    home: Home,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make; by default HOME/desk.")] = None,
) -> None:
    """Make the web page's credentials anew: for a consortium that has none yet, or before their certificate ends."""
    from parties.coordinator.desk.enrol import enrol_desk

    made = enrol_desk(home, to)
    say(
        f"{made} holds the web page's credentials; earlier ones are refused, and their sessions are over.",
        f"Serve the page: entente ui --credentials {pasted(made)}",
        f"Let somebody in: entente ui token --home {pasted(home)} --name NAME --role admin",
    )
