"""Coalition values of a sealed run at its nodes: which rows are valued, and what a crash must not open twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.errors import ConfigError
from parties.node.checkpoints import CheckpointStore
from parties.node.openings import NUMBERS
from psi.flow import Flow, RemoteProtocolError
from vfl.factors.evaluate import evaluation_window
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.coalitions import FEWEST_ROWS, Moments, Piece, ValuedPeriod, valued_coalitions
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.numbers import AnchorNumbers, LabelNumbers
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.resume import START, agree_place, offer_place
from vfl.walk.schedule import Step

__all__ = [
    "Commit",
    "Heard",
    "ValuedModel",
    "agreed_numbers",
    "coalition_ics",
    "labelled_periods",
    "numbers_opened",
    "placed_ics",
    "scores_opened",
    "serve_numbers",
    "valued_periods",
]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Commit = Callable[[U64], bytes]
Heard = Callable[[U64, U64, bytes], None]

_NUMBERS, _ROWS = "numbers", "rows-"


@runtime_checkable
class ValuedModel(Protocol):
    """The joint model of a run on shares, whose coalitions are valued without a row."""

    @property
    def basis(self) -> dict[str, NDArray[Any]]:
        """What its own model's scores were made of beside the agreement and its panel, for an auditor's replay."""

    def coalition_ics(self, scores: F64, session: str, commit: Commit, heard: Heard) -> Flow[dict[frozenset[str], F64]]:
        """The label party's part in valuing coalitions: their IC in each reported period."""


def _window(agreement: Agreement) -> NDArray[np.bool_]:
    terms = agreement.evaluation
    return evaluation_window(agreement.periods, terms.first, terms.last)


def agreed_numbers(agreement: Agreement) -> int:
    """How many numbers may open: two for each coalition and reported period."""
    coalitions = valued_coalitions(tuple(party.name for party in agreement.features))
    return 2 * len(coalitions) * int(_window(agreement).sum())


def valued_periods(
    steps: Sequence[Step], panel: LabelPanel, scores: F64, window: NDArray[np.bool_]
) -> tuple[ValuedPeriod, ...]:
    """Reported periods with enough predicted rows that have labels, and the standardised ranks of these labels."""
    return labelled_periods(steps, np.where(panel.universe & np.isfinite(scores), panel.label, np.nan), window)


def labelled_periods(steps: Sequence[Step], labels: F64, window: NDArray[np.bool_]) -> tuple[ValuedPeriod, ...]:
    """Periods of the window with enough predicted rows that have labels (T, n), and the labels' standardised ranks."""
    found = []
    labels = labels.reshape(-1)
    for period in np.flatnonzero(window):
        predicted = [step for step in steps if step.kind == "predict" and step.period == period]
        pieces = [Piece(int(period), step.number, step.rows[np.isfinite(labels[step.rows])]) for step in predicted]
        pieces = [piece for piece in pieces if len(piece.rows)]
        rows = np.concatenate([piece.rows for piece in pieces]) if pieces else np.zeros(0, dtype=np.int64)
        from scipy.stats import rankdata  # label party alone: a feature party need not wait for it

        ranks = rankdata(labels[rows]) if len(rows) else np.zeros(0)
        if len(rows) >= FEWEST_ROWS and np.ptp(ranks) > 0:
            found.append(ValuedPeriod(int(period), tuple(pieces), (ranks - ranks.mean()) / ranks.std()))
    return tuple(found)


def coalition_ics(
    agreement: Agreement,
    store: CheckpointStore,
    steps: Sequence[Step],
    panel: LabelPanel,
    scores: F64,
    side: LabelNumbers,
    commit: Commit,
    heard: Heard,
) -> Flow[dict[frozenset[str], F64]]:
    """The label party's side: the IC of every coalition in each reported period, NaN where it is not valued.

    scores: (T, n) as they opened. side: of the run's kind of model, from what its own training left.
    commit, heard: as for :meth:`vfl.models.sealed.numbers.LabelNumbers.value`.
    Raises :class:`ConfigError` where no period can be valued.

    Learns: two numbers of 32 bits per coalition and period.
    Leaks: to whom has a part in the scores, which predicted rows have labels in the reported periods.
    Model: as :meth:`vfl.models.sealed.numbers.LabelNumbers.value`.
    Source: docs/protocols/sealed.md#coalition-values.
    """
    window = _window(agreement)
    periods = valued_periods(steps, panel, scores, window)
    if not periods:
        raise ConfigError(
            f"no reported period has {FEWEST_ROWS} predicted rows with labels, so contributions cannot be valued: set "
            'openings.contribution = "none", or report more periods'
        )
    moments = yield from numbers_opened(side, store, periods, scores_opened(periods, scores), commit, heard)
    return placed_ics(moments, window)


def numbers_opened(
    side: LabelNumbers,
    store: CheckpointStore,
    periods: Sequence[ValuedPeriod],
    opened: Sequence[F64],
    commit: Commit,
    heard: Heard = lambda ours, theirs, values: None,
) -> Flow[Moments]:
    """The label party's part in opening numbers, or those that ``store`` has its shares of, as they were.

    Learns: two numbers of 32 bits per coalition and period.
    Leaks: to whom has a part in the scores, which predicted rows have labels in these periods.
    Model: as :meth:`vfl.models.sealed.numbers.LabelNumbers.value`.
    Source: docs/protocols/sealed.md#coalition-values.
    """
    recorded = _kept(store)
    place = yield from agree_place([side.members.anchor], [0] if recorded is not None else [])
    return (
        yield from side.value(
            periods,
            opened,
            LabelKeys(coefficient_key(), slot_key()),
            record=lambda share: store.put(_NUMBERS, {"share": share}),
            recorded=None if place == START else recorded,
            commit=commit,
            heard=heard,
        )
    )


def placed_ics(moments: Moments, window: NDArray[np.bool_]) -> dict[frozenset[str], F64]:
    """The IC of each coalition in every period of the window, NaN where it is not valued."""
    chosen = np.searchsorted(np.flatnonzero(window), moments.periods)
    found = {}
    for coalition, values in moments.correlations().items():
        found[coalition] = np.full(int(window.sum()), np.nan)
        found[coalition][chosen] = values
    return found


def scores_opened(periods: Sequence[ValuedPeriod], scores: F64) -> list[F64]:
    """Of each period the scores of its rows, as they opened."""
    flat = scores.reshape(-1)
    return [np.concatenate([flat[piece.rows] for piece in period.pieces]) for period in periods]


def serve_numbers(
    agreement: Agreement,
    side: AnchorNumbers,
    store: CheckpointStore,
    budget: OpeningBudget,
    sent: Callable[[bytes, bytes], None] = lambda committed, values: None,
    *,
    trial: int | None = None,
) -> Flow[None]:
    """The anchor's side. What opened once opens again as it was, and nothing else does. budget: counts the rows that
    are valued, over all runs, in one charge for each period. sent: hears of what leaves. trial: of a search's trial
    these are, None for the run's coalitions.

    Learns: which predicted rows have labels in the reported periods; shares uniform in Z_p.
    Leaks: to the label party 32 bits per coalition and period.
    Model: as :meth:`vfl.models.sealed.numbers.AnchorNumbers.serve`.
    Source: docs/protocols/sealed.md#coalition-values.
    """
    label, recorded = agreement.label.party, _kept_with_rows(store)
    prefix = NUMBERS if trial is None else f"{NUMBERS}trial-{trial}/"

    def opening(rows: Mapping[int, I64]) -> None:
        for period, chosen in rows.items():
            budget.charge_once(f"{prefix}{period}", chosen, 2 * len(side.coalitions))

    place = yield from offer_place(label, [0] if recorded is not None else [])
    if place == START and any(name.removeprefix(prefix).isdigit() for name in budget.charged(prefix)):
        raise RemoteProtocolError("wants numbers of coalitions made anew that were opened before", label)
    yield from side.serve(
        most=agreed_numbers(agreement) if trial is None else 2 * agreement.reported_from,
        record=lambda share, rows: store.put(_NUMBERS, {"share": share} | {f"{_ROWS}{t}": r for t, r in rows.items()}),
        recorded=None if place == START else recorded,
        opening=opening,
        sent=sent,
    )


def _kept(store: CheckpointStore) -> U64 | None:
    """This side's recorded shares of the numbers."""
    kept = store.get(_NUMBERS) if _NUMBERS in store.names() else None
    return None if kept is None else kept["share"].astype(np.uint64)


def _kept_with_rows(store: CheckpointStore) -> tuple[U64, dict[int, I64]] | None:
    """The anchor's, with the rows by period that they were made of."""
    share, kept = _kept(store), store.get(_NUMBERS) if _NUMBERS in store.names() else None
    if share is None or kept is None:
        return None
    rows = {int(name.removeprefix(_ROWS)): array for name, array in kept.items() if name.startswith(_ROWS)}
    return share, rows
