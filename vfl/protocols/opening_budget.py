"""The opening budget: how often each row's embedding sum was opened, kept by the feature party itself.

History is plain data: a list of charges. The counts are its fold, so whoever stores the charges
durably before :meth:`OpeningBudget.charge` returns can rebuild them after any crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, RemoteProtocolError
from vfl.protocols.row_bits import AGAIN, BACKWARD, RowBits

__all__ = ["BudgetExceededError", "Charge", "OpeningBudget", "asked_by"]

I64 = NDArray[np.int64]


class BudgetExceededError(LocalProtocolError):
    """An opening was refused because a row has reached its limit. Nothing was sent.

    ``asked``: whoever asked for it had all of this run's openings already, or this very one, or named no such rows.
    False where what this party showed in other runs leaves too few.
    """

    def __init__(self, reason: str, *, asked: bool = False) -> None:
        super().__init__(reason)
        self.asked = asked


@contextmanager
def asked_by(peer: str) -> Iterator[None]:
    """Around a charge that ``peer``'s message asks for: RemoteProtocolError with its name where it may not ask."""
    try:
        yield
    except BudgetExceededError as refused:
        if not refused.asked:
            raise
        raise RemoteProtocolError(f"asked for more than it may have: {refused}", peer) from refused


@dataclass(frozen=True)
class Charge:
    """One opening: its label (unique in the run), the row ids and the number of linear forms shown."""

    label: str
    rows: I64
    width: int


def _training(session: str) -> str:
    """A session's name without the number of the attempt."""
    attempt, _, trial = session.partition("/")
    return f"{attempt.partition('-')[0]}/{trial}"


class OpeningBudget:
    """Counts openings per row and refuses those past ``limit``.

    ``others()`` gives what other runs showed of the same rows (rows,), in openings of this run's width, or None where
    that is what it gave last. ``record`` stores a charge durably and returns only then; it is called before the charge
    takes effect. Both are called while ``alone`` is held, so that runs beside each other count each other's openings.
    ``bits``: what is told of each row's content, which has a limit beside the number of openings. ``done``: what a
    refusal says was done to a row. ``closed``: rows that never open, bool (rows,).
    """

    def __init__(
        self,
        rows: int,
        limit: int,
        *,
        others: Callable[[], I64 | None] = lambda: None,
        alone: AbstractContextManager[object] | None = None,
        history: Iterable[Charge] = (),
        record: Callable[[Charge], None] = lambda charge: None,
        bits: RowBits | None = None,
        done: str = "opened",
        closed: NDArray[np.bool_] | None = None,
    ) -> None:
        self.limit, self._done, self._closed = limit, done, closed
        self.counts: I64 = np.zeros(rows, dtype=np.int64)
        self._before: I64 = np.zeros(rows, dtype=np.int64)
        self._others = others
        self._alone = nullcontext() if alone is None else alone
        self._record = record
        self._bits = bits
        self._charged: dict[str, I64] = {}
        for charge in history:
            self._apply(charge)
        with self._alone:
            self._count_others()

    def _count_others(self) -> None:
        if self._bits is not None:
            self._bits.refresh()
        found = self._others()
        if found is not None:
            self.counts += found - self._before
            self._before = found

    def _apply(self, charge: Charge) -> None:
        if BACKWARD not in charge.label:
            self.counts[charge.rows] += 1
        if self._bits is not None and not charge.label.startswith(AGAIN):
            self._bits.add(charge.rows, charge.width)
        self._charged[charge.label] = charge.rows

    @property
    def largest(self) -> int:
        """Openings of the most opened row."""
        return int(self.counts.max(initial=0))

    def charged(self, prefix: str) -> dict[str, I64]:
        """Rows of this run's charges, by label, of those whose label begins with ``prefix``."""
        return {label: rows for label, rows in self._charged.items() if label.startswith(prefix)}

    def charge(self, label: str, rows: I64, width: int) -> None:
        """Count one opening of ``rows`` at ``width`` forms, or raise and count nothing.

        A label serves once. A step repeated after a crash comes under a new one and is counted again: a label party
        that cheats would encrypt other weights, and this side cannot see the difference.
        """
        if len(np.unique(rows)) != len(rows) or (len(rows) and not 0 <= rows.min() <= rows.max() < len(self.counts)):
            raise BudgetExceededError("an opening names a row twice or a row that does not exist", asked=True)
        if label in self._charged:
            reason = f"opening {label!r} was made before: repeat it in a new session, where it counts"
            raise BudgetExceededError(reason, asked=True)
        shut = rows[:0] if self._closed is None else rows[self._closed[rows]]
        if len(shut):
            reason = f"{len(shut)} rows, the first row {int(shut[0])}, never open under these terms"
            raise BudgetExceededError(reason, asked=True)
        with self._alone:
            self._count_others()
            full = rows[self.counts[rows] >= self.limit] if BACKWARD not in label else rows[:0]
            if len(full):
                first = f"{len(full)} rows, the first row {int(full[0])},"
                raise BudgetExceededError(
                    f"{first} were {self._done} {self.limit} times, which is the limit: "
                    "agree to a higher openings.limit_per_row, or use later periods",
                    asked=bool((self.counts[full] - self._before[full] >= self.limit).any()),
                )
            if not label.startswith(AGAIN):
                self._check_bits(rows, width)
            charge = Charge(label, rows, width)
            self._record(charge)
            self._apply(charge)

    def _check_bits(self, rows: I64, width: int) -> None:
        beyond = rows[:0] if self._bits is None else self._bits.beyond(rows, width)
        if self._bits is not None and len(beyond):
            raise BudgetExceededError(
                f"of {len(beyond)} rows, the first row {int(beyond[0])}, more than {self._bits.limit:.1f} bits would "
                "open, which this party lets out of its own columns over all runs and all rows of the same content: "
                "lower model.epochs or model.embedding_width, bring later periods, or agree to a sealed model"
            )

    def charge_backward(self, session: str, step: int, rows: I64, width: int) -> None:
        """Charge a training step's backward product as an opening of its rows, in bits; it is no opening.

        Its rows leave in the weights: openings of later steps, of rows whose features the label party knows, show them.
        So a product that is made again after a crash counts once where no later step has opened: what was made before
        went with the weights that were thrown away.
        """
        label = f"{session}{BACKWARD}{step}"
        if self._bits is not None and (label in self._charged or not self._thrown_away(session, step, rows)):
            self.charge(label, rows, width)

    def _thrown_away(self, session: str, step: int, rows: I64) -> bool:
        """Whether an earlier attempt at this training made the same step's product, and nothing could show it since.

        A search's trials are trainings of their own: ``train-2/trial-0`` repeats ``train-1/trial-0`` and nothing else.
        """
        training, made = _training(session), False
        for label, charged in self._charged.items():
            name, _, number = label.rpartition("/")
            if not number.isdigit():
                continue
            of_session = name.removesuffix(BACKWARD[:-1])
            if _training(of_session) != training:
                continue
            if int(number) > step:
                return False
            made = made or (of_session != name and int(number) == step and np.array_equal(charged, rows))
        return made

    def charge_once(self, label: str, rows: I64, width: int) -> None:
        """Count an opening whose value was fixed before it was first charged: made again, it shows nothing new.

        Only for what this party keeps and sends again as it is, never for what a peer's input goes into.
        """
        before = self._charged.get(label)
        if before is None:
            self.charge(label, rows, width)
        elif not np.array_equal(before, rows):
            raise BudgetExceededError(f"opening {label!r} was made of other rows: it cannot be made again of these")
