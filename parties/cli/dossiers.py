"""What the settlement commands share: showing numbers and dossiers, signing, and moving a dossier on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

from parties.errors import ConfigError, LedgerError
from parties.plurals import things
from parties.terminal.console import money, pasted, say, table

if TYPE_CHECKING:
    from parties.ledger.entries import Unit
    from parties.ledger.store import LedgerStore
    from parties.members.keys import Identity
    from parties.settlement.closed_run import ClosedRun
    from parties.settlement.dossier import Dossier
    from parties.settlement.live_record import LiveRecord

__all__ = [
    "Units",
    "advance",
    "cash_unit",
    "minor_units",
    "now",
    "own_keys",
    "propose",
    "read_live",
    "show_close",
    "show_dossier",
    "show_final",
    "units_of",
]


def propose(
    home: Path, ledger: LedgerStore, run: ClosedRun | None, dossier: Dossier, credentials: Path | None, name: str
) -> None:
    """Sign as the proposer, record, and post if that is enough."""
    identity = own_keys(credentials, name)
    _check_accounts(ledger, dossier)
    show_dossier(dossier, units_of(ledger))
    advance(home, ledger, dossier.approved_by(name, identity.key, dossier.made_at), run)


def advance(home: Path, ledger: LedgerStore, dossier: Dossier, run: ClosedRun | None = None) -> None:
    """Record a dossier and post it when it is complete."""
    from parties.coordinator.closed_runs import find_run
    from parties.members.roster import Roster
    from parties.settlement.dossier_store import Dossiers, post, requirement

    roster, dossiers = Roster.load(home / "roster.json"), Dossiers(home)
    if run is None and dossier.run_id:
        run = find_run(home, dossier.run_id)
    need = requirement(dossier, run.agreement if run else None, roster)
    signed = dossier.signers(need.people)
    unknown = {approval.name for approval in dossier.approvals} - set(need.people)
    if unknown:
        raise LedgerError(f"{sorted(unknown)[0]!r} may not approve this: only {', '.join(sorted(need.people))} may")
    path, dossier = dossiers.record(dossier)
    signed = dossier.signers(need.people)
    if need.missing(signed):
        waits = sorted(set(need.must) - set(signed))
        say(
            f"{len(signed)} of {need.needed} approvals"
            + (f"; it concerns {', '.join(waits)}, who must approve" if waits else "")
            + f". Next: entente settle approve {pasted(path)} --home {pasted(home)} "
            "--credentials DIR --as NAME"
        )
        return
    receipts = post(ledger, dossiers, dossier, run, roster, now())
    new = sum(not receipt.repeated for receipt in receipts)
    say(f"Posted: {things(new, 'new entries')}, approved by {', '.join(signed)}; evidence {dossier.digest}")


def _check_accounts(ledger: LedgerStore, dossier: Dossier) -> None:
    """Nobody should sign what the books cannot take."""
    known = ledger.accounts()
    closed = [account for one in dossier.transactions for account, _ in one.postings if account not in known]
    if closed:
        raise LedgerError(
            f"account {closed[0]!r} is not open: check the party's name, or open its accounts with entente ledger open"
        )


_MOST_DECIMALS = 18

Units = Callable[[str], tuple[int, str] | None]
"""Decimals and unit of an account; None where they are not known here."""


def units_of(ledger: LedgerStore) -> Units:
    """As the books have the accounts."""
    known = ledger.accounts()
    return lambda name: (known[name].unit.scale, known[name].unit.code) if name in known else None


def show_dossier(dossier: Dossier, units: Units = lambda _: None) -> None:
    """Who proposed it, why, and what it would post, in whole currency.

    ``units`` knows the accounts'; where it does not, the dossier may say it itself.
    """
    own = (dossier.basis.get("scale"), dossier.basis.get("unit"))
    said = own if isinstance(own[0], int) and 0 <= own[0] <= _MOST_DECIMALS and isinstance(own[1], str) else None
    say(f"{dossier.kind}, proposed by {dossier.proposer}: dossier {dossier.digest}", *dossier.reasons)
    say("Once approved it would post (a debit is above zero):")
    for one in dossier.transactions:
        held = "as pending" if one.state.value == "pending" else one.state.value
        say(f"  {held}: {one.id}")
        for account, amount in one.postings:
            known = units(account) or said
            told = money(amount, *known) if known else f"{amount} minor units"
            say(f"    {account:44} {told:>20}")


def show_close(ledger: LedgerStore, run: ClosedRun) -> None:
    """Each party's number at the close, and why: as it was booked, or as it would be on the books of today."""
    from parties.ledger.settlement import pending_id
    from parties.settlement.closing import plan_close
    from parties.settlement.pay_rule import claims_of

    terms = run.agreement.reward
    booked = ledger.entry(pending_id(run.run_id))
    if booked is None:
        plan = plan_close(ledger, run.agreement, run.contribution, run.closed_at or now(), run_id=run.run_id)
        say("Not booked yet; on the books of today it would close like this.")
    else:
        before, at = ledger.replay(entries=booked.sequence - 1), booked.transaction.timestamp
        plan = plan_close(before, run.agreement, run.contribution, at, run_id=run.run_id)
        say(f"Booked {at:%Y-%m-%d %H:%M} UTC as entry {booked.sequence}, like this.")
    claims = claims_of(run.agreement, run.contribution)
    say(
        f"Run {run.run_id[:12]}: pot {money(plan.close.pot, terms.scale, terms.unit)} plus "
        f"{money(plan.close.carried, terms.scale, terms.unit)} rolled over; score = max(0, phi - "
        f"{terms.risk_aversion:g} SE); payout factor {float(plan.close.factor):.4f}"
    )
    table(
        "",
        ("party", ">phi", ">SE", ">score", ">share", ">limit", ">reward", "why"),
        (
            (
                party,
                f"{claims[party].contribution:+.5f}",
                f"{claims[party].standard_error:.5f}",
                f"{award.score:.5f}",
                money(award.share, terms.scale, terms.unit),
                "-" if award.limit is None else money(award.limit, terms.scale, terms.unit),
                money(award.amount, terms.scale, terms.unit),
                award.why,
            )
            for party, award in plan.close.awards.items()
        ),
    )
    say(f"Rolls over: {money(plan.close.rolled_over, terms.scale, terms.unit)}")


def show_final(ledger: LedgerStore, run: ClosedRun, live: LiveRecord | None) -> None:
    """Each party\'s number once live data has spoken, and why."""
    from parties.settlement.proposals import outcomes

    terms = run.agreement.reward
    found = outcomes(ledger, run, live, now())
    table(
        "",
        ("party", ">pending", ">live score", ">payable", ">stake lost", "why"),
        (
            (
                party,
                money(found.prices[party].pending, terms.scale, terms.unit),
                f"{outcome.score:+.5f}",
                money(outcome.payable, terms.scale, terms.unit),
                money(outcome.loss, terms.scale, terms.unit),
                outcome.why,
            )
            for party, outcome in found.outcomes.items()
        ),
    )


def own_keys(credentials: Path | None, name: str) -> Identity:
    """The caller\'s keys, to sign with."""
    from parties.members.keys import load_identity

    if credentials is None:
        raise ConfigError("name the folder with your keys: --credentials DIR, or ENTENTE_CREDENTIALS")
    return load_identity(name, credentials / "keys")


def read_live(path: Path | None) -> LiveRecord | None:
    """Live contributions from a file, not yet verified."""
    from pydantic import ValidationError

    from parties.files.text import read_text
    from parties.settlement.live_record import LiveRecord

    if path is None:
        return None
    try:
        return LiveRecord.model_validate_json(read_text(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: {where}: {first['msg']}") from None


def minor_units(text: str, scale: int) -> int:
    """An amount in whole units as minor units, exactly."""
    try:
        minor = Decimal(text).scaleb(scale)
    except InvalidOperation:
        raise ConfigError(f"{text!r} is not an amount: write it like 1250.00") from None
    if not minor.is_finite() or minor != minor.to_integral_value():
        raise ConfigError(f"{text!r} has more than {things(scale, 'decimals')}: write whole minor units")
    return int(minor)


def cash_unit(ledger: LedgerStore) -> Unit:
    """What the ledger's cash is counted in."""
    from parties.ledger.settlement import CASH

    account = ledger.accounts().get(CASH)
    if account is None:
        raise LedgerError("the ledger has no accounts yet: entente ledger open makes them")
    return account.unit


def now() -> datetime:
    """The present, to the second, UTC."""
    return datetime.now(UTC).replace(microsecond=0)
