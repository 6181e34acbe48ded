"""What a coordinator tells people of: signatures, approvals, money, runs that ended, parties that are away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from parties.calls.settlement import SettlementQuestion
from parties.coordinator.desk.context import DeskContext
from parties.coordinator.desk.doors import Caller
from parties.coordinator.desk.settlement import SettlementDesk
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run_views import run_summary
from parties.ledger.entries import Unit
from parties.names import ADMIN, NO_PARTIES
from parties.notices.message import Notice

__all__ = ["CoordinatorWatch"]

_RECENT = timedelta(days=7)


class CoordinatorWatch:
    """Reads a coordinator's state, and changes nothing of it."""

    def __init__(self, context: DeskContext) -> None:
        self._context = context

    def notices(self) -> Iterator[Notice]:
        """All that needs somebody now, and what ended in the last week."""
        now = self._context.now()
        for known in self._context.engine.all_runs():
            ended = known.state.ended_at
            if ended is None or now - ended < _RECENT:
                yield from _run(known)
        yield from self._money()
        yield from self._away()

    def _money(self) -> Iterator[Notice]:
        context = self._context
        desk = SettlementDesk(context.ledger, context.engine, context.approvals, context.roster)
        page = desk.page(SettlementQuestion(limit=100), Caller(ADMIN, "admin"))
        names = {run.run_id: run.purpose or run.consortium for run in page.runs}
        for dossier in page.dossiers:
            for one in dossier.approvers if dossier.state == "open" else ():
                if one.state in ("asked", "may"):
                    step = f"the step {dossier.kind!r} {dossier.digest[:12]} waits for the approval of {one.name}"
                    yield Notice(
                        f"approve {dossier.digest[:32]} {one.name}", "approve",
                        f"“{names.get(dossier.run_id, dossier.run_id[:12] or dossier.party)}”: {step}.", f"{step}.",
                        f"entente settle approve {dossier.digest[:12]} --home {one.name}", dossier.run_id,
                    )  # fmt: skip
        for run in page.runs:
            if run.state != "due" or run.dossier:
                continue
            worth = f"{Unit(run.unit, run.scale).format(run.amount)} {run.unit}"
            yield Notice(
                f"due {run.run_id}", "money",
                f"“{names[run.run_id]}”: {worth} can be made final; nobody has been asked for approval yet.",
                f"the reward of run {run.run_id[:12]} can be made final; nobody has been asked for approval yet.",
                f"entente settle finalise {run.run_id[:12]} --home COORDINATOR --credentials ADMIN "
                "--as admin --dry-run",
                run.run_id,
            )  # fmt: skip

    def _away(self) -> Iterator[Notice]:
        """Parties that have been silent for longer than is allowed, once for each absence."""
        longest = 60.0 * self._context.settings.notices.away_minutes
        names = [name for name in self._context.roster if name not in NO_PARTIES]
        for name, line in self._context.engine.attachments(names).items():
            seen = line.last_seen
            if line.attached or seen is None:
                continue
            silent = (self._context.now() - seen).total_seconds()
            if silent >= longest:
                text = f"{name} has been away since {seen:%Y-%m-%d %H:%M} UTC."
                yield Notice(
                    f"away {name} {seen:%Y%m%dT%H%M%S}", "away", text, text, f"entente party start --home {name}"
                )


def _run(known: KnownRun) -> Iterator[Notice]:
    one, short = run_summary(known), known.state.run[:12]
    name = f"“{one.purpose or one.consortium}” ({short})"
    if one.status == "proposed":
        for party in one.waiting_for:
            waits = f"waits for the signature of {party}."
            yield Notice(
                f"sign {one.run_id} {party}", "sign", f"{name} {waits}", f"run {short} {waits}",
                f"entente run review {short} --home {party}", one.run_id,
            )  # fmt: skip
    elif one.status == "aborted":
        why = one.reason.rstrip(".") or "no reason was given"
        yield Notice(
            f"failed {one.run_id}", "failed", f"{name} has stopped: {why}.", f"run {short} has stopped.",
            f"entente run show {short} --credentials ADMIN", one.run_id,
        )  # fmt: skip
    elif one.status == "settled":
        yield Notice(
            f"finished {one.run_id}", "finished", f"{name} is finished.", f"run {short} is finished.",
            f"entente run show {short} --credentials ADMIN", one.run_id,
        )  # fmt: skip
