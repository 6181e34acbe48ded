"""The node's own count of openings: durable before anything opens, and kept for ever.

Append-only: one row per charge. A row of data is an (entity, period) pair, so openings of the same pair
in earlier runs count against a new run's limit, whatever its row order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from parties.errors import StorageError
from parties.private_files import make_private
from vfl.protocols.opening_budget import Charge

__all__ = ["SCORES", "OpeningStore"]

SCORES = "scores/"
"""What the labels of charges of scores begin with."""

_METADATA = sa.MetaData()
_ROWS = sa.Table(
    "opening_rows",
    _METADATA,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("entities", sa.JSON, nullable=False),
    sa.Column("periods", sa.JSON, nullable=False),
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
        self, run_id: str, entities: Sequence[str], periods: Sequence[str], width: int, *, scores: bool = False
    ) -> NDArray[np.int64]:
        """What other runs have shown of these rows, in openings of ``width`` forms, rounded up: int64 (T * n,).

        Runs differ in width, and what adds up over them is linear forms, not openings. scores: count the scores that
        this node opened as an anchor, which are of all parties' rows, in place of its own sums.
        """
        counts = np.zeros(len(periods) * len(entities), dtype=np.int64)
        entity_at = {name: i for i, name in enumerate(entities)}
        period_at = {name: i for i, name in enumerate(periods)}
        with self._read() as connection:
            runs = connection.execute(sa.select(_ROWS).where(_ROWS.c.run_id != run_id)).all()
        for run in runs:
            used = np.zeros(len(run.periods) * len(run.entities), dtype=np.int64)
            for charge in self.history(run.run_id):
                if charge.label.startswith(SCORES) != scores:
                    continue
                used[charge.rows] += charge.width
            old = used.reshape(len(run.periods), len(run.entities))
            rows = [(i, period_at[p]) for i, p in enumerate(run.periods) if p in period_at]
            columns = [(j, entity_at[e]) for j, e in enumerate(run.entities) if e in entity_at]
            if rows and columns:
                i, t = (np.array(x) for x in zip(*rows, strict=True))
                j, e = (np.array(x) for x in zip(*columns, strict=True))
                counts[(t[:, None] * len(entities) + e[None, :])] += old[np.ix_(i, j)]
        return -(-counts // width)

    def others(
        self, run_id: str, entities: Sequence[str], periods: Sequence[str], width: int, *, scores: bool = False
    ) -> Callable[[], NDArray[np.int64] | None]:
        """What gives :meth:`before` when it is first called and whenever another run has opened since, else None."""
        seen: int | None = None

        def changed() -> NDArray[np.int64] | None:
            nonlocal seen
            with self._read() as connection:
                last = connection.scalar(sa.select(sa.func.max(_CHARGES.c.number))) or 0
                since = (_CHARGES.c.number > (seen or 0)) & (_CHARGES.c.run_id != run_id)
                same = seen is not None and (
                    last == seen or connection.scalar(sa.select(_CHARGES.c.number).where(since).limit(1)) is None
                )
            seen = last
            return None if same else self.before(run_id, entities, periods, width, scores=scores)

        return changed

    def _write(self) -> _Guarded:
        return _Guarded(self._engine)

    def _read(self) -> _Guarded:
        return _Guarded(self._engine)


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
