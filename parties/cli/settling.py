"""``entente settle``: from a run's close to the payout, with two people's approval of every step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from parties.cli.dossiers import (
    cash_unit,
    minor_units,
    now,
    propose,
    read_live,
    show_close,
    show_final,
)
from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError, LedgerError
from parties.plurals import things
from parties.terminal.console import say, table

__all__ = [
    "app",
    "settle_check",
    "settle_close",
    "settle_correct",
    "settle_dispute",
    "settle_exit",
    "settle_finalise",
    "settle_judge",
    "settle_licence",
    "settle_list",
    "settle_pay",
    "settle_receive",
    "settle_release",
    "settle_void",
]

_CLOSE = "close"


class _CloseByDefault(HelpGroup):
    """``entente settle [RUN]`` is ``entente settle close [RUN]``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = [_CLOSE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Settle runs: see what everyone gets and why, propose, approve, post.", cls=_CloseByDefault)

Home = Annotated[Path, typer.Option("--home", help="Folder of the coordinator.")]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials", metavar="DIR", envvar="ENTENTE_CREDENTIALS", help="Folder with your keys/, to sign with."
    ),
]
As = Annotated[str, typer.Option("--as", metavar="NAME", help="Who you are, as the roster or the agreement says.")]
Run = Annotated[str, typer.Argument(help="Run id, or its first characters.")]
Live = Annotated[
    Path | None, typer.Option("--live", metavar="FILE", help="Live contributions, if not those the label party sent.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show every number and why; write nothing.")]
Why = Annotated[str, typer.Option("--why", help="The reason everybody reads.")]
Party = Annotated[str, typer.Option("--party", help="The party this is about.")]


@app.command(_CLOSE)
def settle_close(
    home: Home,
    run: Annotated[str, typer.Argument(help="Run id, or its first characters; the latest run by default.")] = "",
    dry_run: DryRun = False,
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Show how a run closes, or propose its pending settlement where the agreement wants that approved."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.proposals import propose_close

    closed = find_run(home, run)
    with open_ledger(home) as ledger:
        show_close(ledger, closed)
        if not dry_run:
            propose(home, ledger, closed, propose_close(ledger, closed, name, now()), credentials, name)


@app.command("finalise")
def settle_finalise(
    run: Run,
    home: Home,
    live: Live = None,
    dry_run: DryRun = False,
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose the final settlement of a run from live data: what its label party sent, or a file."""
    from parties.coordinator.closed_runs import attested_file, find_run, open_ledger
    from parties.settlement.proposals import final_blocked, propose_final, settlement_rules

    closed = find_run(home, run)
    record = read_live(live or attested_file(home, closed.run_id))
    if record is not None:
        record.verify(closed.run_id, closed.agreement, settlement_rules(closed.agreement).live_periods)
        if live is None:
            say(f"Live data as {closed.agreement.label.party} attested it: {things(len(record.periods), 'periods')}.")
    with open_ledger(home) as ledger:
        show_final(ledger, closed, record)
        if dry_run:
            for against in final_blocked(ledger, closed, record, now()):
                say(f"Not yet: {against}.")
        else:
            propose(home, ledger, closed, propose_final(ledger, closed, record, name, now()), credentials, name)


@app.command("licence")
def settle_licence(
    run: Run, home: Home, dry_run: DryRun = False, credentials: Credentials = None, name: As = "admin"
) -> None:
    """Propose what use of the factor costs: every period that is over and not yet in the books."""
    from parties.cli.dossiers import show_dossier, units_of
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.licence import propose_licence

    closed = find_run(home, run)
    with open_ledger(home) as ledger:
        dossier = propose_licence(ledger, closed, name, now())
        if dry_run:
            show_dossier(dossier, units_of(ledger))
        else:
            propose(home, ledger, closed, dossier, credentials, name)


@app.command("void")
def settle_void(run: Run, home: Home, why: Why, credentials: Credentials = None, name: As = "admin") -> None:
    """Propose that a run's pending settlement is cancelled."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.proposals import propose_void

    closed = find_run(home, run)
    with open_ledger(home) as ledger:
        propose(home, ledger, closed, propose_void(ledger, closed, why, name, now()), credentials, name)


@app.command("correct")
def settle_correct(
    run: Run,
    home: Home,
    why: Why,
    pay: Annotated[list[str], typer.Option("--pay", metavar="PARTY=AMOUNT", help="More, or less when below zero.")],
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose a new entry that corrects a final settlement."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.proposals import propose_correction

    closed = find_run(home, run)
    scale = closed.agreement.reward.scale
    unreadable = [item for item in pay if "=" not in item]
    if unreadable:
        raise ConfigError(f"--pay {unreadable[0]}: write it as PARTY=AMOUNT, such as orbit=1250.00")
    amounts = {party: minor_units(text, scale) for party, _, text in (item.partition("=") for item in pay)}
    with open_ledger(home) as ledger:
        dossier = propose_correction(ledger, closed, amounts, why, name, now())
        propose(home, ledger, closed, dossier, credentials, name)


@app.command("dispute")
def settle_dispute(run: Run, home: Home, party: Party, why: Why, credentials: Credentials = None) -> None:
    """Dispute a run as a party: a deposit leaves your stake until the dispute is judged."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.proposals import propose_dispute

    closed = find_run(home, run)
    with open_ledger(home) as ledger:
        propose(home, ledger, closed, propose_dispute(closed, party, why, now()), credentials, party)


@app.command("judge")
def settle_judge(
    run: Run,
    home: Home,
    party: Party,
    why: Why,
    upheld: Annotated[bool, typer.Option("--uphold/--reject", help="Whether the accuser is right.")],
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="FILE", help="What an auditor's replay of the run found.")
    ] = None,
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose the end of a dispute: the deposit goes back, or is lost."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.proposals import propose_judgement
    from parties.settlement.replay_verdict import read_verdict

    closed = find_run(home, run)
    verdict = None if replay is None else read_verdict(replay)
    with open_ledger(home) as ledger:
        dossier = propose_judgement(ledger, closed, party, why, name, now(), upheld=upheld, replay=verdict)
        propose(home, ledger, closed, dossier, credentials, name)


@app.command("receive")
def settle_receive(
    party: Annotated[str, typer.Argument(help="Who paid.")],
    amount: Annotated[str, typer.Argument(help="In whole units, such as 1250.00.")],
    home: Home,
    reference: Annotated[
        str, typer.Option("--reference", help="The bank's reference without spaces, once per receipt.")
    ],
    stake: Annotated[bool, typer.Option("--stake/--subscription", help="What it was paid for.")] = False,
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose the booking of cash that came in: a subscription, or stake."""
    from parties.coordinator.closed_runs import open_ledger
    from parties.settlement.cash import propose_receipt

    with open_ledger(home) as ledger:
        unit = cash_unit(ledger)
        minor = minor_units(amount, unit.scale)
        dossier = propose_receipt(party, minor, reference, name, now(), stake=stake, unit=unit)
        propose(home, ledger, None, dossier, credentials, name)


@app.command("exit")
def settle_exit(
    party: Annotated[str, typer.Argument(help="Who asks.")],
    amount: Annotated[str, typer.Argument(help="In whole units.")],
    home: Home,
    credentials: Credentials = None,
) -> None:
    """Ask stake back as a party; it leaves after the cooling period."""
    from parties.coordinator.closed_runs import open_ledger
    from parties.settlement.cash import propose_exit

    with open_ledger(home) as ledger:
        unit = cash_unit(ledger)
        dossier = propose_exit(party, minor_units(amount, unit.scale), now(), unit)
        propose(home, ledger, None, dossier, credentials, party)


@app.command("release")
def settle_release(
    party: Annotated[str, typer.Argument(help="Who asked.")],
    home: Home,
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose that stake which has cooled becomes payable. The latest agreement says how long it cools."""
    from parties.coordinator.closed_runs import find_run, open_ledger
    from parties.settlement.cash import propose_release
    from parties.settlement.proposals import settlement_rules

    days = settlement_rules(find_run(home, "").agreement).cooling_days
    with open_ledger(home) as ledger:
        propose(home, ledger, None, propose_release(ledger, party, days, name, now()), credentials, name)


@app.command("pay")
def settle_pay(
    home: Home,
    reference: Annotated[str, typer.Option("--reference", help="Names the batch, such as 2026-06.")],
    party: Annotated[list[str], typer.Option("--party", help="Whom to pay; may be repeated.")],
    credentials: Credentials = None,
    name: As = "admin",
) -> None:
    """Propose to pay out everything that is payable to the named parties."""
    from parties.coordinator.closed_runs import open_ledger
    from parties.settlement.cash import propose_payouts

    with open_ledger(home) as ledger:
        propose(home, ledger, None, propose_payouts(ledger, party, reference, name, now()), credentials, name)


@app.command("list")
def settle_list(home: Home) -> None:
    """List dossiers: what was proposed, who approved it, whether it is in the books."""
    from parties.coordinator.closed_runs import open_ledger
    from parties.settlement.dossier_store import Dossiers, is_posted

    with open_ledger(home) as ledger:
        rows = [
            (
                one.kind,
                one.run_id[:12] or one.party,
                f"{one.made_at:%Y-%m-%d %H:%M}",
                ", ".join(approval.name for approval in one.approvals),
                "posted" if is_posted(ledger, one) else "waits",
                str(path),
            )
            for path, one in Dossiers(home).all().items()
        ]
    if not rows:
        say("Nothing has been proposed yet.")
        return
    table("", ("step", "about", "proposed (UTC)", "approved by", "state", "dossier"), rows)


@app.command("check")
def settle_check(home: Home) -> None:
    """Check that every settlement in the books was approved by enough different people."""
    from parties.coordinator.closed_runs import open_ledger, valued_runs
    from parties.members.roster import Roster
    from parties.settlement.dossier_store import Dossiers, audit

    runs = {run.run_id: run for run in valued_runs(home)}
    with open_ledger(home) as ledger:
        journal = ledger.journal()
    faults = audit(journal, Dossiers(home).all(), runs, Roster.load(home / "roster.json"))
    if faults:
        raise LedgerError(f"{faults[0]}; ask who posted it, and correct it by a new entry")
    say(f"Every settlement in {things(len(journal), 'transactions')} was approved as agreed.")
