"""``entente ledger``: balances, journal, statements, exports, backups, and the checks that everything adds up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError, LedgerError, StorageError
from parties.plurals import things
from parties.private_files import write_whole
from parties.terminal.console import money, say, table

if TYPE_CHECKING:
    from parties.ledger.store import LedgerStore

__all__ = [
    "ExportFormat",
    "StatementFormat",
    "app",
    "ledger_backup",
    "ledger_balance",
    "ledger_check",
    "ledger_export",
    "ledger_head",
    "ledger_journal",
    "ledger_open",
    "ledger_replay",
    "ledger_restore",
    "ledger_statement",
]

app = typer.Typer(
    cls=HelpGroup, help="Read a coordinator's ledger: balances, exports, backups, checks.", no_args_is_help=True
)


class StatementFormat(StrEnum):
    """How a statement is written."""

    PDF = "pdf"
    HTML = "html"
    CSV = "csv"


class ExportFormat(StrEnum):
    """What the books are written for: a spreadsheet, Beancount, or a bank."""

    CSV = "csv"
    BALANCES = "balances"
    BEANCOUNT = "beancount"
    PAIN001 = "pain001"


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
        raise ConfigError(f"{file}: no such ledger; name the coordinator's folder, and start the coordinator once")
    with LedgerStore(place) as store:
        yield store


@app.command("open")
def ledger_open(
    party: Annotated[list[str], typer.Option("--party", help="A member; may be repeated.")],
    unit: Annotated[str, typer.Option("--unit", help="Currency.")],
    scale: Annotated[int, typer.Option("--scale", min=0, max=8, help="Decimal digits of a minor unit.")] = 2,
    home: Home = None,
    url: Url = "",
) -> None:
    """Open the accounts before the first run, so that stakes can be paid in; those open already stay as they are."""
    from parties.ledger.core import Unit
    from parties.ledger.settlement import chart_of_accounts

    with _opened(home, url) as store:
        before = len(store.accounts())
        store.open_accounts(chart_of_accounts(Unit(unit, scale), party), datetime.now(UTC))
        made = len(store.accounts()) - before
    say(f"{things(made, 'accounts')} opened.")


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
def ledger_check(
    home: Home = None,
    url: Url = "",
    head: Annotated[Path | None, typer.Option("--head", help="A signed head that was kept elsewhere.")] = None,
    roster: Annotated[Path | None, typer.Option("--roster", help="roster.json with the head's signer.")] = None,
) -> None:
    """Replay the journal, verify every hash and balance; with a signed head, also that nothing was rewritten."""
    from parties.ledger.heads import head_from_json
    from parties.members.roster import Roster

    signed = None
    if head is not None:
        if roster is None:
            raise ConfigError("name the roster.json that knows the head's signer: --roster FILE")
        signed = head_from_json(_read(head))
        signed.verify(Roster.load(roster).member(signed.signer).identity_key)
    with _opened(home, url) as store:
        report = store.check()
        if signed is not None:
            signed.check_against(store.digest_at(signed.sequence))
    if not report.ok:
        raise LedgerError(f"the books are not sound: {report.faults[0]}; restore the ledger from a backup")
    if not report.balanced:
        raise LedgerError("the books do not balance: restore the ledger from a backup")
    say(
        f"The books are sound: {things(report.accounts, 'accounts')}, {things(report.transactions, 'transactions')}, "
        f"{things(report.postings, 'postings')}, {report.unresolved} pending; they balance.",
        f"head: {report.digest}",
    )
    if signed is not None:
        say(f"They continue from the head of entry {signed.sequence}, signed by {signed.signer} at {signed.timestamp}.")


@app.command("replay")
def ledger_replay(home: Home = None, url: Url = "") -> None:
    """Rebuild every balance from the journal alone, and compare with those kept."""
    with _opened(home, url) as store:
        model, kept, accounts = store.replay(), store.balances(), store.accounts()
    rebuilt = model.balances()
    table(
        "",
        ("account", ">posted", ">pending", "as kept"),
        (
            (
                name,
                money(balance.posted, accounts[name].unit.scale, accounts[name].unit.code),
                money(balance.pending, accounts[name].unit.scale, accounts[name].unit.code),
                "yes" if kept.get(name) == balance else "NO",
            )
            for name, balance in rebuilt.items()
        ),
    )
    if rebuilt != kept:
        raise LedgerError("the balances kept are not those the journal gives: restore the ledger from a backup")
    say(f"{things(model.head().sequence, 'entries')} replayed; head: {model.head().digest}")


@app.command("statement")
def ledger_statement(
    party: Annotated[str, typer.Argument(help="Whose statement.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    home: Home = None,
    url: Url = "",
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")] = None,
    form: Annotated[StatementFormat | None, typer.Option("--format", help="By default what --out ends with.")] = None,
) -> None:
    """Write a party's statement: opening balance, entries, closing balance, method and evidence."""
    from parties.coordinator.closed_runs import valued_runs
    from parties.ledger.statements import statement, statement_csv, statement_html
    from parties.settlement.dossier_parts import METHOD

    kind = form or _form(out)
    bundles = {run.run_id: run.bundle for run in valued_runs(home)} if home is not None else {}
    with _opened(home, url) as store:
        accounts, journal = store.accounts(), store.journal()
    days = [entry.transaction.timestamp for entry in journal] or [datetime.now(UTC)]
    begin = first.replace(tzinfo=UTC) if first else min(days).replace(hour=0, minute=0, second=0, microsecond=0)
    end = (last.replace(tzinfo=UTC) if last else max(days)) + timedelta(days=1)
    until = end.replace(hour=0, minute=0, second=0, microsecond=0)
    made = statement(journal, accounts, party, begin, until, method=METHOD, bundles=bundles)
    if kind is StatementFormat.PDF:
        from parties.ledger.pdf import statement_pdf

        _write(out, statement_pdf(made))
    else:
        _write(out, (statement_html(made) if kind is StatementFormat.HTML else statement_csv(made)).encode())
    say(f"{out}: {party}, {begin:%Y-%m-%d} to {until - timedelta(days=1):%Y-%m-%d}")
    for account in made.accounts:
        posted, pending = (money(amount, account.unit.scale, account.unit.code) for amount in account.closing)
        say(f"  {account.account:44} {posted:>24}" + (f", pending {pending}" if account.closing[1] else ""))


@app.command("export")
def ledger_export(
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="For whom.")],
    home: Home = None,
    url: Url = "",
    payees: Annotated[Path | None, typer.Option("--payees", help="pain001: payees.toml with the accounts.")] = None,
    reference: Annotated[str, typer.Option("--reference", help="pain001: the batch of payouts.")] = "",
    execute: Annotated[
        datetime | None, typer.Option("--execute", formats=["%Y-%m-%d"], help="pain001: the day to pay.")
    ] = None,
) -> None:
    """Write the whole journal as CSV or Beancount, the balances as CSV, or a batch of payouts as a payment order."""
    from parties.ledger.export import balance_rows, beancount_text, journal_rows, to_csv
    from parties.ledger.iso20022 import pain001, payouts_of
    from parties.settlement.payees import load_payees

    with _opened(home, url) as store:
        accounts, journal, balances = store.accounts(), store.journal(), store.balances()
    if form is ExportFormat.PAIN001:
        if payees is None or not reference or execute is None:
            raise ConfigError("a payment order needs --payees FILE, --reference BATCH and --execute DAY")
        known = load_payees(payees)
        banks = {party: account.bank_account for party, account in known.payee.items()}
        due = payouts_of(journal, reference)
        made_at = max(made.timestamp for made in due.values())
        text = pain001(due, accounts, banks, known.debtor.bank_account, reference, made_at, execute.date())
    elif form is ExportFormat.BEANCOUNT:
        text = beancount_text(journal, accounts)
    elif form is ExportFormat.CSV:
        text = to_csv(journal_rows(journal, accounts))
    else:
        text = to_csv(balance_rows(balances, accounts))
    _write(out, text.encode())
    say(f"{out}: written from {things(len(journal), 'transactions')}")


@app.command("head")
def ledger_head(
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator, whose key signs.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write; keep it elsewhere.")],
) -> None:
    """Sign the present head of the journal with the coordinator's key, for others to keep."""
    from parties.ledger.heads import sign_head
    from parties.members.keys import load_identity
    from parties.names import COORDINATOR

    with _opened(home, "") as store:
        head = store.head()
    signed = sign_head(head, datetime.now(UTC), COORDINATOR, load_identity(COORDINATOR, home / "keys").key)
    _write(out, signed.to_json().encode())
    say(f"{out}: head of {head.sequence} entries, {head.digest}")


@app.command("backup")
def ledger_backup(
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")],
    home: Home = None,
    url: Url = "",
) -> None:
    """Write the whole journal into one file."""
    from parties.ledger.backup import write_backup

    with _opened(home, url) as store:
        head = write_backup(store, out)
    say(f"{out}: {things(head.sequence, 'entries')}, head {head.digest}")


@app.command("restore")
def ledger_restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    url: Annotated[str, typer.Option("--url", help="An empty ledger: sqlite:///FILE or postgresql://...")],
) -> None:
    """Restore a backup into an empty ledger, verifying every entry by replay."""
    from parties.ledger.backup import restore_backup
    from parties.ledger.store import LedgerStore

    if not file.is_file():
        raise ConfigError(f"{file}: no such backup")
    with LedgerStore(url) as store:
        head = restore_backup(file, store)
        report = store.check()
    if not report.ok or report.digest != head.digest:
        raise StorageError(f"{file}: restored, but the check found {report.faults[:1]}; do not use {url}")
    say(f"{things(report.transactions, 'transactions')} restored and checked; head {head.digest}")


def _form(out: Path) -> StatementFormat:
    try:
        return StatementFormat(out.suffix.removeprefix("."))
    except ValueError:
        raise ConfigError(f"{out}: end the name with .pdf, .html or .csv, or say --format") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: cannot be read; name a file that entente ledger head wrote") from None


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
