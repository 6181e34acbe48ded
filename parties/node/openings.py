"""The node's own count of openings: durable before anything opens, and kept for ever.

Append-only: one row per charge. A row of data is an (entity, period) pair, so openings of the same pair
in earlier runs count against a new run's limit, whatever its row order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from parties.errors import StorageError
from parties.private_files import make_private
from vfl.models.sealed.opens import NUMBER_BITS
from vfl.protocols.opening_budget import Charge
from vfl.protocols.row_bits import AGAIN, BACKWARD, LEGACY_BITS, SCORE_BITS

__all__ = ["NUMBERS", "SCORES", "Counted", "OpeningStore"]

SCORES = "scores/"
"""What the labels of charges of scores begin with."""

NUMBERS = "numbers/"
"""What the labels of charges of coalitions' numbers begin with: one charge a period, as wide as it has numbers."""

Counted = Literal["sums", "scores", "numbers"]
"""A node's own sums, or, of all parties' rows, the scores or the numbers that it opened as an anchor."""

_METADATA = sa.MetaData()
_ROWS = sa.Table(
    "opening_rows",
    _METADATA,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("entities", sa.JSON, nullable=False),
    sa.Column("periods", sa.JSON, nullable=False),
)
_CONTENTS = sa.Table(
    "opening_contents",
    _METADATA,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("digests", sa.LargeBinary, nullable=False),
    sa.Column("bits", sa.Float, nullable=False),
)
_CHARGES = sa.Table(
    "opening_charges",
    _METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(64), nullable=False, index=True),
    sa.Column("label", sa.String(400), nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("rows", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.UniqueConstraint("run_id", "label"),
)


class OpeningStore:
    """Charges in a database, by SQLAlchemy URL. Raises :class:`StorageError` when it cannot be written or read.

    A node's runs go on beside each other. Whoever decides by what other runs did holds ``alone`` until it has recorded.
    """

    def __init__(self, url: str) -> None:
        self.alone = threading.RLock()
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            make_private(self._engine.url.database)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _durable)
        try:
            _METADATA.create_all(self._engine)
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(
                f"{url}: the node's state cannot be opened ({_cause(error)}); check path and disk"
            ) from None

    def close(self) -> None:
        self._engine.dispose()

    def begin(self, run_id: str, entities: Sequence[str], periods: Sequence[str]) -> None:
        """Remember what the run's row ids mean. The same run again must bring the same rows."""
        with self._write() as connection:
            found = connection.execute(sa.select(_ROWS).where(_ROWS.c.run_id == run_id)).first()
            if found is None:
                connection.execute(_ROWS.insert().values(run_id=run_id, entities=list(entities), periods=list(periods)))
            elif (found.entities, found.periods) != (list(entities), list(periods)):
                raise StorageError(f"run {run_id[:12]} was begun with other rows; start a new run")

    def hold_contents(self, run_id: str, digests: bytes, bits: float) -> float:
        """Remember what the run's rows hold, 16 bytes a row, and how many bits one of its numbers tells; the latter.

        A run that opened numbers before there were contents goes on with what those told.
        """
        with self._write() as connection:
            held = connection.execute(sa.select(_CONTENTS.c.bits).where(_CONTENTS.c.run_id == run_id)).first()
            if held is not None:
                return float(held.bits)
            opened = sa.select(_CHARGES.c.number).where(_CHARGES.c.run_id == run_id).limit(1)
            if connection.execute(opened).first() is not None:
                bits = max(bits, LEGACY_BITS)
            connection.execute(_CONTENTS.insert().values(run_id=run_id, digests=digests, bits=bits))
        return bits

    def told(self, run_id: str, entities: Sequence[str], periods: Sequence[str], digests: bytes) -> NDArray[np.float64]:
        """Bits that other runs told of these rows or of their content, float64 (T * n,).

        Rows are known by entity and period and by content; of both, the more. A run from before contents were kept told
        all bits of its numbers.
        """
        found = np.zeros(len(periods) * len(entities))
        own = np.frombuffer(digests, "V16")
        kinds, place = np.unique(own, return_inverse=True)
        at = {(t, e): i for i, (t, e) in enumerate((t, e) for t in periods for e in entities)}
        with self._read() as connection:
            runs = connection.execute(sa.select(_ROWS).where(_ROWS.c.run_id != run_id)).all()
            held = {row.run_id: row for row in connection.execute(sa.select(_CONTENTS))}
        named, meant = np.zeros_like(found), np.zeros(len(kinds))
        for run in runs:
            kept = held.get(run.run_id)
            used = np.zeros(len(run.periods) * len(run.entities))
            for charge in self.history(run.run_id):
                if charge.label.startswith(SCORES):
                    used[charge.rows] += charge.width * SCORE_BITS
                elif charge.label.startswith(NUMBERS):
                    # a number is of all its period's rows
                    used[charge.rows] += charge.width * NUMBER_BITS / max(len(charge.rows), 1)
                elif kept is None:
                    used[charge.rows] += charge.width * LEGACY_BITS
                elif not charge.label.startswith(AGAIN):
                    used[charge.rows] += charge.width * kept.bits
            if not used.any():
                continue
            pairs = ((t, e) for t in run.periods for e in run.entities)
            for number, pair in enumerate(pairs):
                if used[number] and pair in at:
                    named[at[pair]] += used[number]
            if kept is not None:
                theirs = np.frombuffer(kept.digests, "V16")
                where = np.searchsorted(kinds, theirs)
                same = (where < len(kinds)) & (kinds[np.minimum(where, len(kinds) - 1)] == theirs)
                np.add.at(meant, where[same], used[same])
        return np.maximum(named, meant[place.reshape(-1)])

    def others_told(
        self, run_id: str, entities: Sequence[str], periods: Sequence[str], digests: bytes
    ) -> Callable[[], NDArray[np.float64] | None]:
        """What gives :meth:`told` when it is first called and whenever another run has opened since, else None."""
        changed = self._watch(run_id)
        return lambda: self.told(run_id, entities, periods, digests) if changed() else None

    def record(self, run_id: str, charge: Charge) -> None:
        """Store one charge; on return it survives a crash."""
        with self._write() as connection:
            connection.execute(
                _CHARGES.insert().values(
                    run_id=run_id,
                    label=charge.label,
                    width=charge.width,
                    rows=charge.rows.astype("<u4").tobytes(),
                    at=datetime.now(UTC).isoformat(),
                )
            )

    def history(self, run_id: str) -> tuple[Charge, ...]:
        """The run's charges so far, oldest first."""
        query = sa.select(_CHARGES).where(_CHARGES.c.run_id == run_id).order_by(_CHARGES.c.number)
        with self._read() as connection:
            return tuple(
                Charge(row.label, np.frombuffer(row.rows, "<u4").astype(np.int64), row.width)
                for row in connection.execute(query)
            )

    def runs(self) -> list[tuple[str, list[str], list[str]]]:
        """Every run that was begun here: its id, entities and periods."""
        with self._read() as connection:
            return [(row.run_id, row.entities, row.periods) for row in connection.execute(sa.select(_ROWS))]

    def begun(self) -> list[str]:
        """Ids of the runs that were begun here."""
        with self._read() as connection:
            return list(connection.scalars(sa.select(_ROWS.c.run_id)))

    def before(
        self,
        run_id: str,
        entities: Sequence[str],
        periods: Sequence[str],
        width: int,
        *,
        counted: Counted = "sums",
        only: Collection[str] | None = None,
    ) -> NDArray[np.int64]:
        """What other runs have shown of these rows, in openings of ``width`` forms, rounded up: int64 (T * n,).

        Runs differ in width, and what adds up over them is linear forms, not openings. Scores and numbers are counted
        as openings. only: of these runs, where given.
        """
        counts = np.zeros(len(periods) * len(entities), dtype=np.int64)
        entity_at = {name: i for i, name in enumerate(entities)}
        period_at = {name: i for i, name in enumerate(periods)}
        with self._read() as connection:
            runs = connection.execute(sa.select(_ROWS).where(_ROWS.c.run_id != run_id)).all()
        for run in runs:
            if only is not None and run.run_id not in only:
                continue
            used = np.zeros(len(run.periods) * len(run.entities), dtype=np.int64)
            for charge in self.history(run.run_id):
                if _kind(charge.label) != counted or BACKWARD in charge.label:
                    continue
                used[charge.rows] += charge.width if counted == "sums" else 1
            old = used.reshape(len(run.periods), len(run.entities))
            rows = [(i, period_at[p]) for i, p in enumerate(run.periods) if p in period_at]
            columns = [(j, entity_at[e]) for j, e in enumerate(run.entities) if e in entity_at]
            if rows and columns:
                i, t = (np.array(x) for x in zip(*rows, strict=True))
                j, e = (np.array(x) for x in zip(*columns, strict=True))
                counts[(t[:, None] * len(entities) + e[None, :])] += old[np.ix_(i, j)]
        return -(-counts // width)

    def others(
        self, run_id: str, entities: Sequence[str], periods: Sequence[str], width: int, *, counted: Counted = "sums"
    ) -> Callable[[], NDArray[np.int64] | None]:
        """What gives :meth:`before` when it is first called and whenever another run has opened since, else None."""
        changed = self._watch(run_id)
        return lambda: self.before(run_id, entities, periods, width, counted=counted) if changed() else None

    def _watch(self, run_id: str) -> Callable[[], bool]:
        """Whether another run has opened since it was last asked; at first, always."""
        seen: int | None = None

        def changed() -> bool:
            nonlocal seen
            with self._read() as connection:
                last = connection.scalar(sa.select(sa.func.max(_CHARGES.c.number))) or 0
                since = (_CHARGES.c.number > (seen or 0)) & (_CHARGES.c.run_id != run_id)
                same = seen is not None and (
                    last == seen or connection.scalar(sa.select(_CHARGES.c.number).where(since).limit(1)) is None
                )
            seen = last
            return not same

        return changed

    def _write(self) -> _Guarded:
        return _Guarded(self._engine)

    def _read(self) -> _Guarded:
        return _Guarded(self._engine)


def _kind(label: str) -> Counted:
    return "scores" if label.startswith(SCORES) else "numbers" if label.startswith(NUMBERS) else "sums"


class _Guarded:
    """A transaction whose database errors become one sentence."""

    def __init__(self, engine: sa.Engine) -> None:
        self._context = engine.begin()
        self._url = engine.url.render_as_string(hide_password=True)

    def __enter__(self) -> sa.Connection:
        try:
            return self._context.__enter__()
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(f"{self._url}: cannot be opened ({_cause(error)}); check path and disk") from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._context.__exit__(kind, error, trace)  # type: ignore[arg-type]
        except sa.exc.SQLAlchemyError as failure:
            raise StorageError(f"{self._url}: cannot be written ({_cause(failure)}); nothing was opened") from None


def _durable(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _cause(error: sa.exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
