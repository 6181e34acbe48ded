"""What needs somebody, out of what the coordinator tells. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parties.client import BalancesView, HouseView, PartyView, RunSummary, ViewerView

__all__ = ["Concern", "concerns", "pending_money"]


_RECENT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Concern:
    """One sentence. ``grave``: something is wrong, and not merely waiting. ``own``: the reader's own to do.

    ``command``: what to type at the reader's node, to be copied. Names in the sentence come from peers.
    """

    text: str
    grave: bool = False
    own: bool = False
    command: str = ""


def concerns(
    house: HouseView,
    runs: Sequence[RunSummary],
    parties: Sequence[PartyView],
    balances: BalancesView | None,
    viewer: ViewerView | None = None,
    stopped: Sequence[RunSummary] = (),
) -> list[Concern]:
    """What is wrong first, then what the reader has to do, then what waits for others.

    Books, certificates, disk, paused runs, signatures, runs of the last seven days that ``stopped``, absent parties.
    """
    found = []
    if balances is not None and not balances.standing.balanced:
        why = balances.standing.finding or "its entries do not add up"
        found.append(Concern(f"The ledger does not balance: {why}.", grave=True))
    found += [Concern(f"{told[:1].upper()}{told[1:]}.", grave=" ended on " in told) for told in house.warnings]
    away = {party.name for party in parties if party.health != "online"}
    for run in runs:
        name = run.purpose or run.consortium
        if run.status == "paused":
            waited = ", ".join(run.waiting_for) or "whoever paused it"
            found.append(Concern(f"“{name}” is paused and waits for {waited}."))
        elif run.status == "proposed" and viewer is not None and viewer.party and viewer.party in run.waiting_for:
            review = f"entente run review {run.run_id[:12]} --home {viewer.party}"
            text = f"“{name}” waits for the signature of {viewer.party}, your party. At its node:"
            found.append(Concern(text, own=True, command=review))
        elif run.status == "proposed" and run.waiting_for:
            found.append(Concern(f"“{name}” waits for the signature of {', '.join(run.waiting_for)}."))
        away -= set(run.waiting_for)
    if away:
        many = "party is" if len(away) == 1 else "parties are"
        found.append(Concern(f"{len(away)} {many} not online: {', '.join(sorted(away))}."))
    found += [_stopped(run) for run in stopped if run.ended_at and datetime.now(UTC) - run.ended_at < _RECENT]
    return sorted(found, key=lambda concern: (not concern.grave, not concern.own))


def _stopped(run: RunSummary) -> Concern:
    why = run.reason.rstrip(".") or "no reason was given"
    return Concern(f"“{run.purpose or run.consortium}” ({run.run_id[:12]}) has stopped: {why}.")


def pending_money(balances: BalancesView | None) -> Mapping[tuple[str, int], int]:
    """Rewards that are booked and not final, in minor units by unit and scale."""
    sums: dict[tuple[str, int], int] = defaultdict(int)
    for account in balances.accounts if balances else ():
        if account.kind == "Pending" and account.party:
            sums[account.unit, account.scale] += account.pending
    return {key: value for key, value in sums.items() if value}
