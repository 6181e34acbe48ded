"""Ends daily use in time: weights that have expired, or that a party which left has made useless, are erased here."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.errors import EntenteError
from parties.factor.live_scores import say_ended
from parties.node.earlier_runs import proposed_before
from parties.node.home import NodeHome
from parties.node.kept_weights import erase_kept, kept_runs
from parties.process.supervision import start_loop
from parties.proposing.scoring import left

__all__ = ["KeptWatch"]

_LOG = logging.getLogger(__name__)
_EVERY_SECONDS = 60.0


class KeptWatch:
    """One thread that looks at every run whose weights this node keeps, when it starts and every minute."""

    def __init__(self, home: NodeHome, audit: AuditLog) -> None:
        self._home, self._audit = home, audit
        self._stopped = threading.Event()
        self._thread = start_loop(self.look, "kept weights", self._stopped, every=_EVERY_SECONDS)

    def look(self) -> None:
        """Erase what is to be kept no longer, and say at the factor why no more scores follow."""
        for run_id in kept_runs(self._home.folder):
            try:
                trained = proposed_before(self._home.folder, run_id)
                why = self._why(trained, datetime.now(UTC))
                if why and erase_kept(self._home.folder, run_id):
                    self._audit.append("weights-erased", run_id, {"why": why[:300]})
                    _LOG.warning("run %s: %s", run_id[:12], why)
                    self._say(trained, why)
            except EntenteError as error:
                _LOG.error("run %s: its kept weights: %s", run_id[:12], error)

    def _why(self, trained: Agreement | None, now: datetime) -> str:
        if trained is None or trained.daily is None:
            return "its agreement is not here, so nothing can be scored under it"
        if now.date() >= trained.daily.expires:
            return f"daily use ended on {trained.daily.expires}: the weights are erased, propose a new run"
        return left(trained, self._home.roster, me=self._home.identity.name)

    def _say(self, trained: Agreement | None, why: str) -> None:
        if trained is not None and trained.daily is not None:
            name = self._home.identity.name
            if name == trained.label.party or name in trained.recipients:
                say_ended(self._home.folder, trained, why)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(10.0)
