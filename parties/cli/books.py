"""``entente ledger``: balances, the journal, and the check that everything adds up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.console import money, say, table
from parties.errors import ConfigError, LedgerError

if TYPE_CHECKING:
    from parties.ledger.store import LedgerStore

__all__ = ["app", "ledger_balance", "ledger_check", "ledger_journal"]

app = typer.Typer(help="Read a coordinator's ledger.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option("--home", help="Folder of the coordinator.")]
Url = Annotated[str, typer.Option("--url", help="Or the ledger itself: sqlite:///FILE or postgresql://...")]


@contextmanager
def _opened(home: Path | None, url: str) -> Iterator[LedgerStore]:
    from parties.coordinator.settings import load_coordinator_settings
    from parties.ledger.store import LedgerStore

    if (home is None) == (not url):
        raise ConfigError("name the ledger: --home DIR of the coordinator, or --url URL")
    place: str | Path = url
    if home is not None:
        place = load_coordinator_settings(home).ledger or home / "ledger.db"
    file = place if isinstance(place, Path) else Path(place.removeprefix("sqlite:///"))
    if (isinstance(place, Path) or place.startswith("sqlite:///")) and not file.is_file():
        raise ConfigError(f"{file}: no such ledger; name the coordinator's folder")
    with LedgerStore(place) as store:
        yield store


@app.command("balance")
def ledger_balance(home: Home = None, url: Url = "") -> None:
    """Show every account's balance."""
    with _opened(home, url) as store:
        accounts, balances = store.accounts(), store.balances()
    table(
        "",
        ("account", ">posted", ">pending"),
        (
            (
                name,
                money(balance.posted, accounts[name].unit.scale, accounts[name].unit.code),
                money(balance.pending, accounts[name].unit.scale, accounts[name].unit.code),
            )
            for name, balance in balances.items()
        ),
    )


@app.command("journal")
def ledger_journal(
    home: Home = None,
    url: Url = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many transactions.")] = None,
) -> None:
    """List the transactions, oldest first."""
    with _opened(home, url) as store:
        accounts, entries = store.accounts(), store.journal(0, limit)
    for entry in entries:
        made = entry.transaction
        say(f"{made.timestamp:%Y-%m-%d %H:%M:%S} {made.state.value:8} {made.id}  {made.narration}")
        for posting in made.postings:
            unit = accounts[posting.account].unit
            say(f"    {posting.account:44} {money(posting.amount, unit.scale, unit.code):>24}")
    if not entries:
        say("No transaction has been recorded yet.")


@app.command("check")
def ledger_check(home: Home = None, url: Url = "") -> None:
    """Replay the journal, verify every hash and compare the balances."""
    with _opened(home, url) as store:
        report = store.check()
    if not report.ok:
        raise LedgerError(f"the books are not sound: {report.faults[0]}; restore the ledger from a backup")
    if not report.balanced:
        raise LedgerError("the books do not balance: restore the ledger from a backup")
    say(
        f"The books are sound: {report.accounts} accounts, {report.transactions} transactions, "
        f"{report.postings} postings, {report.unresolved} pending; they balance.",
        f"head: {report.digest}",
    )
