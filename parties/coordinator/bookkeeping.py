"""Whether the books add up, known at any time without reading them all again.

The chain is verified once from its beginning after the coordinator started, in slices beside its other work, and from
then on only what was added. What is already verified is read again when somebody asks for it.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from parties.errors import StorageError
from parties.ledger.store import LedgerStore, Report
from parties.ledger.verify import Verifier
from parties.process.supervision import start_task

__all__ = ["Bookkeeper", "Standing"]

_LOG = logging.getLogger(__name__)
_AT_ONCE_SECONDS = 0.3
_SLICE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known: ``checked`` of ``entries`` are verified. ``finding``: the first thing found wrong, or "".

    ``complete``: everything recorded at ``checked_at`` is verified. ``whole_at``: when that began from the first entry.
    """

    entries: int
    checked: int
    complete: bool
    balanced: bool
    finding: str
    transactions: int
    postings: int
    unresolved: int
    digest: str
    checked_at: datetime | None
    whole_at: datetime | None


class Bookkeeper:
    """Watches one ledger. Thread-safe. ``breath``: seconds that other work gets between two pages."""

    def __init__(self, ledger: LedgerStore, *, breath: float = 0.01) -> None:
        self._ledger = ledger
        self._breath = breath
        self._lock = threading.Lock()
        self._verifier = Verifier()
        self._begun = _now()
        self._report: Report | None = None
        self._checked_at: datetime | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> Standing:
        """The standing now. What is new is verified first if that is little; if it is much, that goes on beside."""
        self.advance(_AT_ONCE_SECONDS)
        standing = self.standing()
        if not standing.complete and not standing.finding:
            self._go_on()
        return standing

    def standing(self) -> Standing:
        """What is known, without more verifying."""
        head = self._ledger.head()
        with self._lock:
            checked, report = self._verifier.head(), self._report
            same = head.sequence == checked.sequence
            finding = report.faults[0] if report is not None and report.faults else ""
            if same and head.digest != checked.digest and not finding:
                finding = f"entry {head.sequence} is not what was verified before"
            balanced = not finding and (report is None or report.balanced)
            return Standing(
                entries=head.sequence,
                checked=checked.sequence,
                complete=same and report is not None,
                balanced=balanced,
                finding=finding if finding or balanced else "debits and credits differ",
                transactions=self._verifier.transactions,
                postings=self._verifier.postings,
                unresolved=self._verifier.unresolved,
                digest=checked.digest,
                checked_at=self._checked_at,
                whole_at=self._begun,
            )

    def advance(self, seconds: float) -> None:
        """Verify what is new, for about so long."""
        end = time.monotonic() + seconds
        while not self._closed.is_set():
            with self._lock:
                if self._settled():
                    return
                self._report = self._ledger.follow(self._verifier)
                if self._report is not None:
                    self._checked_at = _now()
                    return
            if time.monotonic() > end:
                return

    def begin_anew(self) -> None:
        """Verify everything again from the first entry."""
        with self._lock:
            self._verifier, self._report, self._begun = Verifier(), None, _now()
        self._go_on()

    def close(self) -> None:
        """Stop verifying; call it before the ledger is closed."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _settled(self) -> bool:
        """Nothing is new since the last report, or it found a fault in the chain, which more entries do not mend."""
        if self._report is None:
            return False
        return bool(self._verifier.fault) or self._ledger.head().sequence == self._verifier.head().sequence

    def _go_on(self) -> None:
        with self._lock:
            if self._closed.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            # after a fault it begins again when somebody next asks for the books' state
            self._thread = start_task(self._work, "bookkeeping", lambda error: None)

    def _work(self) -> None:
        while not self._closed.wait(self._breath):
            try:
                self.advance(_SLICE_SECONDS)
                standing = self.standing()
            except StorageError as error:
                _LOG.error("the books cannot be verified: %s", error)
                return
            if standing.complete or standing.finding:
                if standing.finding:
                    _LOG.error("the books: %s", standing.finding)
                return


def _now() -> datetime:
    return datetime.now(UTC)
