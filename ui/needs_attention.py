"""What needs somebody, out of what the coordinator tells. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parties.client import (
    BalancesView,
    DossierView,
    HouseView,
    PartyView,
    RunSummary,
    SettlementPage,
    SettlementView,
    ViewerView,
)
from ui.wording import amount, as_sentence, listed, things, when

__all__ = ["Concern", "concerns", "pending_money"]


_RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Concern:
    """A sentence or two. ``grave``: something is wrong, and not merely waiting. ``own``: the reader's own to do.

    ``ended``: a run that came to no end, so that nothing waits.
    Commands in ``text`` stand between backticks, for :func:`ui.wording.with_commands`; names in it come from peers.
    ``command``: what to type at the reader's node, to be copied. ``page``: where in the site it is done, ``run`` for
    which run.
    """

    text: str
    grave: bool = False
    own: bool = False
    ended: bool = False
    command: str = ""
    page: str = ""
    run: str = ""


def concerns(
    house: HouseView,
    runs: Sequence[RunSummary],
    parties: Sequence[PartyView],
    balances: BalancesView | None,
    viewer: ViewerView | None = None,
    stopped: Sequence[RunSummary] = (),
    settlements: SettlementPage | None = None,
) -> list[Concern]:
    """What is wrong first, then what the reader has to do, then what waits for others.

    Books, certificates, disk, paused runs, signatures, money to close, finalise or approve, runs of the last seven days
    that ``stopped``, absent parties.
    """
    found = []
    if balances is not None and not balances.standing.balanced:
        why = balances.standing.finding or "its entries do not add up"
        found.append(Concern(as_sentence(f"the ledger does not balance: {why}"), grave=True))
    mine = f"the certificate of {viewer.party} " if viewer is not None and viewer.party else ""
    admin = viewer is None or viewer.role == "admin"
    for told in house.warnings:
        text = as_sentence(
            told if admin else told.replace(": run `entente coordinator", ": an admin runs `entente coordinator")
        )
        found.append(Concern(text, grave=" ended on " in told, own=bool(mine) and told.startswith(mine)))
    away = {party.name for party in parties if party.health != "online"}
    for run in runs:
        name = run.purpose or run.consortium
        if run.status == "paused":
            waited = listed(run.waiting_for) or "whoever paused it"
            found.append(Concern(f"“{name}” is paused and waits for {waited}.", page="run", run=run.run_id))
        elif run.status == "proposed" and viewer is not None and viewer.party and viewer.party in run.waiting_for:
            review = f"entente run review {run.run_id[:12]} --home {viewer.party}"
            text = f"“{name}” waits for the signature of {viewer.party}, your party. At its node:"
            found.append(Concern(text, own=True, command=review))
        elif run.status == "proposed" and run.waiting_for:
            signatures = "signature" if len(run.waiting_for) == 1 else "signatures"
            text = f"“{name}” waits for the {signatures} of {listed(run.waiting_for)}."
            found.append(Concern(text, page="run", run=run.run_id))
        away -= set(run.waiting_for)
    if settlements is not None:
        found += _money(settlements, viewer)
    found += _away(away, {party.name: party.last_seen for party in parties}, viewer.party if viewer else "")
    found += [_stopped(run) for run in stopped if run.ended_at and datetime.now(UTC) - run.ended_at < _RECENT]
    return sorted(found, key=lambda concern: (not concern.grave, not concern.own))


def _away(names: Collection[str], last: Mapping[str, datetime | None], own: str) -> Iterator[Concern]:
    """Parties that are not there, and how their nodes are started; the reader's own with the command to copy."""
    since = {name: f"{name} (last heard of {when(last[name])})" for name in sorted(names)}
    if mine := since.pop(own, ""):
        text = f"Your party is not online: {mine}. Where its node runs:"
        yield Concern(text, own=True, command=f"entente party start --home {own}")
    if since:
        one = len(since) == 1
        who = f"{things(len(since), 'parties')} {'is' if one else 'are'} not online: {', '.join(since.values())}."
        start = f"`entente party start --home {next(iter(since)) if one else 'NODE'}`"
        how = f"Its operator starts it with {start}." if one else f"Operators start them with {start}."
        yield Concern(f"{who} {how}", page="members")


def _money(page: SettlementPage, viewer: ViewerView | None) -> Iterator[Concern]:
    """Steps that somebody has to ask for, to approve, or to give the numbers for."""
    admin = viewer is not None and viewer.role == "admin"
    for dossier in page.dossiers:
        if dossier.state == "open":
            yield _approval(dossier, page, viewer)
    for run in page.runs:
        name, worth = run.purpose or run.consortium, amount(run.amount, run.unit, run.scale)
        if run.dossier:
            continue
        if run.disputes:
            text = f"“{name}” is disputed by {listed(run.disputes)}: it must be judged before anything is final."
            yield Concern(text, own=admin, page="settlement", run=run.run_id)
        elif run.state == "due":
            text = f"“{name}”: {worth} can be made final; nobody has been asked for approval yet."
            yield Concern(text, own=admin, page="settlement", run=run.run_id)
        elif run.state == "to close":
            text = f"“{name}” is to be closed: no reward is booked before."
            yield Concern(text, own=admin, page="settlement", run=run.run_id)
        elif run.state == "pending" and viewer is not None and viewer.party == run.label_party:
            yield from _live_due(run)


def _live_due(run: SettlementView) -> Iterator[Concern]:
    """What the label party's operator has to attest, while periods are missing."""
    if run.live_periods >= run.live_needed:
        return
    text = (
        f"“{run.purpose or run.consortium}” waits for live contributions: {run.live_periods} of {run.live_needed} "
        "periods are attested. Once their labels are known, at the node of your party:"
    )
    yield Concern(text, own=True, command=f"entente settle live {run.run_id[:12]} --home {run.label_party}")


def _approval(dossier: DossierView, page: SettlementPage, viewer: ViewerView | None) -> Concern:
    names = {run.run_id: run.purpose or run.consortium for run in page.runs}
    about = names.get(dossier.run_id) or dossier.run_id[:12] or dossier.party
    what = f"The step “{dossier.kind}” of “{about}”"
    open_for = [one.name for one in dossier.approvers if one.state in ("asked", "may")]
    if viewer is not None and viewer.party and viewer.party in open_for:
        command = f"entente settle approve {dossier.digest[:12]} --home {viewer.party}"
        text = f"{what} waits for the approval of {viewer.party}, your party. At its node:"
        return Concern(text, own=True, command=command, page="settlement", run=dossier.run_id)
    missing = dossier.needed - dossier.approved
    text = f"{what} waits for {missing} more approval{'s' * (missing != 1)}, of {listed(open_for) or 'nobody left'}."
    return Concern(text, page="settlement", run=dossier.run_id)


def _stopped(run: RunSummary) -> Concern:
    why = run.reason.rstrip(".") or "no reason was given"
    return Concern(
        f"“{run.purpose or run.consortium}” ({run.run_id[:12]}): {why}.", ended=True, page="run", run=run.run_id
    )


def pending_money(balances: BalancesView | None) -> Mapping[tuple[str, int], int]:
    """Rewards that are booked and not final, in minor units by unit and scale."""
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for account in balances.accounts if balances else ():
        if account.kind == "Pending" and account.party:
            sums[account.unit, account.scale] += account.pending
    return {key: value for key, value in sums.items() if value}
