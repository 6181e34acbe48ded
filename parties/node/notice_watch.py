"""What a party's node tells its own operators of: what waits for them, what their node refused, what ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from parties.node.asked_runs import WAITS, asked_runs
from parties.node.home import NodeHome
from parties.node.settlements import waiting
from parties.notices.message import Notice
from parties.terminal.console import pasted

__all__ = ["node_notices"]

_RECENT = timedelta(days=7)


def node_notices(place: NodeHome) -> Iterator[Notice]:
    """From the node's own folder; commands name it as it was started."""
    home, now = pasted(place.folder), datetime.now(UTC)
    for run in asked_runs(place.folder):
        short, name = run.run_id[:12], f"“{run.purpose}” ({run.run_id[:12]})"
        if run.status == WAITS:
            waits = "waits for your signature."
            yield Notice(
                f"sign {run.run_id}", "sign", f"{name} {waits}", f"run {short} {waits}",
                f"entente run review {short} --home {home}", run.run_id,
            )  # fmt: skip
        elif now - run.at < _RECENT and run.status in ("refused", "aborted", "settled"):
            fine, now_it = run.status == "settled", "is finished" if run.status == "settled" else f"was {run.status}"
            why = f": {run.reason}" if run.reason and not fine else "."
            yield Notice(
                f"ended {run.run_id}", "finished" if fine else "failed", f"{name} {now_it}{why}",
                f"run {short} {now_it}.", f"entente run show {short} --home {home}", run.run_id,
            )  # fmt: skip
    for one in waiting(place):
        digest = one.asked.dossier.digest
        text = f"a settlement step ({one.asked.dossier.kind}, {digest[:12]}) waits for your approval."
        yield Notice(
            f"approve {digest[:32]}", "approve", text, text, f"entente settle approve {digest[:12]} --home {home}",
            one.asked.dossier.run_id,
        )  # fmt: skip
