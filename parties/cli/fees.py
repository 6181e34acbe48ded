"""``entente fees``: report usage fees that nobody reads, and open their total."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError
from parties.terminal.console import money, say

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.members.keys import Identity
    from vfl.protocols.fee_reports import FeeBook

__all__ = [
    "app",
    "fees_add",
    "fees_book",
    "fees_check",
    "fees_collect",
    "fees_key",
    "fees_multiply",
    "fees_open",
    "fees_publish",
    "fees_report",
]

app = typer.Typer(cls=HelpGroup, help="Usage fees: encrypted reports, one opened total.", no_args_is_help=True)

Home = Annotated[Path, typer.Option("--home", help="Folder of your node.")]
Signed = Annotated[Path, typer.Option("--agreement", help="The agreement's JSON file.")]
Period = Annotated[str, typer.Option("--period", help="The billing period, such as 2026Q3.")]
Out = Annotated[Path, typer.Option("--out", help="File to write; never overwritten.")]
Reports = Annotated[list[Path], typer.Argument(help="The parties' report files.")]
Products = Annotated[
    list[Path] | None, typer.Option("--product", help="What entente fees multiply wrote; repeat for each party.")
]
Absent = Annotated[list[str] | None, typer.Option("--absent", help="A party excused this period; repeat for more.")]

_COORDINATOR = "coordinator"


def _identity(home: Path) -> Identity:
    from parties.members.keys import load_identity
    from parties.node.settings import load_node_settings

    return load_identity(load_node_settings(home / "node.toml").party.name, home / "keys")


def _agreement(path: Path) -> Agreement:
    from pydantic import ValidationError

    from parties.agreement.document import Agreement

    try:
        return Agreement.model_validate_json(path.read_bytes())
    except OSError:
        raise ConfigError(f"{path}: cannot be read; name the agreement's file") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: not an agreement ({error.errors()[0]['msg']}); name the right file") from None


def _book(
    agreement: Agreement,
    period: str,
    reports: list[Path],
    products: list[Path] | None = None,
    absent: list[str] | None = None,
) -> FeeBook:
    from parties.settlement.fee_files import fee_terms, read_message
    from vfl.protocols.fee_messages import FeeProduct, FeeReport
    from vfl.protocols.fee_reports import FeeBook

    book = FeeBook(fee_terms(agreement), period)
    for path in reports:
        sender, report = read_message(path, FeeReport)
        book.take(sender, report)
    for path in products or ():
        sender, product = read_message(path, FeeProduct)
        book.take_product(sender, product, absent or ())
    return book


@app.command("key")
def fees_key(home: Home) -> None:
    """Make the key holder's 3072-bit Paillier key; prints what goes into [fees] of the agreement."""
    from parties.settlement.fee_files import create_fee_key

    identity = _identity(home)
    modulus = create_fee_key(home, identity)
    say("[fees]", f'key_holder = "{identity.name}"', f'modulus = "{modulus:x}"')


@app.command("report")
def fees_report(
    home: Home,
    agreement: Signed,
    period: Period,
    assets: Annotated[str, typer.Option("--assets", help="Assets that use the factor, such as 1250000000.00.")],
    out: Out,
) -> None:
    """Encrypt and sign your fee for a period, with the proof that it is in range (some seconds)."""
    from parties.settlement.fee_files import fee_terms, minor_amount, write_message
    from vfl.arithmetic.randomness import SecretStream
    from vfl.protocols.fee_reports import make_report, usage_fee

    identity, agreed = _identity(home), _agreement(agreement)
    terms, scale = fee_terms(agreed), agreed.reward.scale
    assert agreed.fees is not None
    fee = usage_fee(minor_amount(assets, scale), agreed.fees.rate_millionths)
    if fee >= 1 << terms.bits:
        raise ConfigError(f"the fee is above the agreed range of {terms.bits} bits: agree on a wider one")
    report = make_report(terms, identity.name, period, fee, identity.key.sign, SecretStream(os.urandom(32)))
    write_message(out, identity.name, report)
    say(f"Your fee for {period}: {money(fee, scale, agreed.reward.unit)}. {out} goes to the coordinator.")


@app.command("collect")
def fees_collect(agreement: Signed, period: Period, reports: Reports, out: Out, absent: Absent = None) -> None:
    """Coordinator: check every report, and put their ciphertexts together for the parties to multiply."""
    from parties.settlement.fee_files import write_message
    from vfl.protocols.fee_reports import multipliers

    book = _book(_agreement(agreement), period, reports)
    collected = book.collected(absent or ())
    write_message(out, _COORDINATOR, collected)
    say(
        f"{out} goes to {', '.join(multipliers(book.terms, collected.reporters))}, who multiply it, and not to "
        f"{book.terms.key_holder}, who could open each report."
    )


@app.command("multiply")
def fees_multiply(
    collected: Annotated[Path, typer.Argument(help="What entente fees collect wrote.")],
    home: Home,
    agreement: Signed,
    period: Period,
    report: Annotated[Path, typer.Option("--report", help="Your own report, which must be among them.")],
    out: Out,
) -> None:
    """Multiply everybody's reports yourself and sign the product: nothing else can be opened then."""
    from parties.settlement.fee_files import fee_terms, read_message, write_message
    from vfl.protocols.fee_messages import FeeReport, FeesCollected
    from vfl.protocols.fee_reports import multiply

    identity, terms = _identity(home), fee_terms(_agreement(agreement))
    if identity.name == terms.key_holder:
        raise ConfigError("the key holder multiplies nothing: it could open each report, and must not have them")
    _, got = read_message(collected, FeesCollected)
    _, mine = read_message(report, FeeReport)
    product, _ = multiply(terms, identity.name, period, got, mine, identity.key.sign, _COORDINATOR)
    write_message(out, identity.name, product)
    say(f"{len(got.reporters)} reports multiplied, yours among them. {out} goes back to the coordinator.")


@app.command("add")
def fees_add(
    agreement: Signed, period: Period, reports: Reports, out: Out, product: Products = None, absent: Absent = None
) -> None:
    """Coordinator: add up what everybody multiplied, for the key holder to open."""
    from parties.settlement.fee_files import write_message

    book = _book(_agreement(agreement), period, reports, product, absent)
    write_message(out, _COORDINATOR, book.aggregate(absent or ()))
    say(f"{len(book.reports)} reports added up, none read. {out} goes to {book.terms.key_holder}, the reports do not.")


@app.command("open")
def fees_open(
    aggregate: Annotated[Path, typer.Argument(help="What entente fees add wrote.")],
    home: Home,
    agreement: Signed,
    period: Period,
    out: Out,
) -> None:
    """Key holder: open a period's total, once, with the proof that it is the total."""
    from parties.settlement.fee_files import fee_terms, load_fee_key, opened_once, read_message, write_message
    from vfl.protocols.fee_messages import FeeAggregate
    from vfl.protocols.fee_reports import open_aggregate

    identity, agreed = _identity(home), _agreement(agreement)
    terms = fee_terms(agreed)
    if out.exists():
        raise ConfigError(f"{out}: exists already; name another file, because a total opens only once")
    _, asked = read_message(aggregate, FeeAggregate)
    key = load_fee_key(home, identity)
    said = open_aggregate(terms, period, asked, key, identity.key.sign, opened_once(home, terms))
    write_message(out, identity.name, said)
    say(f"Total for {period}: {money(said.total, agreed.reward.scale, agreed.reward.unit)}. {out} goes back.")


@app.command("publish")
def fees_publish(
    agreement: Signed,
    period: Period,
    reports: Reports,
    total: Annotated[Path, typer.Option("--total", help="What the key holder sent back.")],
    out: Out,
    product: Products = None,
    absent: Absent = None,
) -> None:
    """Coordinator: check the opened total against the reports, and write the result for everybody."""
    from parties.settlement.fee_files import read_message, write_message
    from vfl.protocols.fee_messages import FeeTotal

    agreed = _agreement(agreement)
    book = _book(agreed, period, reports, product, absent)
    _, said = read_message(total, FeeTotal)
    result = book.opened(book.aggregate(absent or ()), said, absent or ())
    write_message(out, _COORDINATOR, result)
    say(f"Total for {period}: {money(said.total, agreed.reward.scale, agreed.reward.unit)}, proved. {out} goes to all.")


@app.command("check")
def fees_check(
    result: Annotated[Path, typer.Argument(help="What entente fees publish wrote.")],
    agreement: Signed,
    period: Period,
    report: Annotated[
        Path | None, typer.Option("--report", help="Your own report, which must be in the total.")
    ] = None,
) -> None:
    """Check a published total: proof, key holder's signature, and that your report is in it."""
    import hashlib

    from parties.errors import LedgerError
    from parties.settlement.fee_files import fee_terms, read_message
    from vfl.protocols.fee_messages import FeeReport, FeesOpened
    from vfl.protocols.fee_reports import check_opened

    agreed = _agreement(agreement)
    _, opened = read_message(result, FeesOpened)
    found = check_opened(fee_terms(agreed), period, opened, _COORDINATOR)
    if report is not None:
        sender, mine = read_message(report, FeeReport)
        held = dict(zip(opened.reporters, opened.digests, strict=True))
        if held.get(sender) != hashlib.sha256(mine.ciphertext).digest():
            raise LedgerError(f"{report}: this report is not in the total: ask the coordinator for its copy")
    say(
        f"Total for {period}: {money(found.total, agreed.reward.scale, agreed.reward.unit)}, proved.",
        f"Reported: {', '.join(found.reporters)}. Absent: {', '.join(found.absent) or 'nobody'}.",
    )


@app.command("book")
def fees_book(
    result: Annotated[Path, typer.Argument(help="What entente fees publish wrote.")],
    home: Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")],
    agreement: Signed,
    period: Period,
    credentials: Annotated[
        Path | None,
        typer.Option(
            "--credentials", metavar="DIR", envvar="ENTENTE_CREDENTIALS", help="Folder with your keys/, to sign with."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Who you are, as the roster says.")] = "admin",
) -> None:
    """Propose the booking of a published total as income, once it is paid in; every proof is checked again."""
    import hashlib

    from parties.cli.dossiers import now, propose
    from parties.coordinator.closed_runs import open_ledger
    from parties.settlement.cash import propose_fee_income
    from parties.settlement.fee_files import fee_terms, read_message
    from vfl.protocols.fee_messages import FeesOpened
    from vfl.protocols.fee_reports import check_opened

    agreed = _agreement(agreement)
    _, opened = read_message(result, FeesOpened)
    found = check_opened(fee_terms(agreed), period, opened, _COORDINATOR)
    proof = hashlib.sha256(result.read_bytes()).hexdigest()
    with open_ledger(home) as ledger:
        dossier = propose_fee_income(ledger, agreed, found, proof, name, now())
        propose(home, ledger, None, dossier, credentials, name)
