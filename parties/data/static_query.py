"""The connector for data without a calendar: one row an entity, read from the same SQL files and checked row by row.

A feature query yields ``entity`` and the declared columns; a label query ``entity``, ``label`` and, where no share is
agreed, ``part``: training or test. A row that is not known yet has no label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.static_terms import PARTS, TEST
from parties.agreement.terms import StaticTerms
from parties.data.query import run_query
from parties.data.result_columns import ResultColumns, number_column, text_column
from parties.data.row_checks import check_frame, row_name
from parties.errors import DataError
from parties.settings.consortium import LabelSettings, PartySettings

__all__ = ["StaticLabels", "StaticRows", "label_reader", "read_static_labels", "read_static_rows"]

Texts = NDArray[np.object_]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class StaticRows:
    """What a feature query yielded. source: name of the SQL file. entity: object (N,), raw spellings.

    values: float64 (N, d), NaN where missing.
    """

    source: str
    entity: Texts
    values: F64


@dataclass(frozen=True)
class StaticLabels:
    """What a label query yielded. label: float64 (N,), NaN where unknown. test: bool (N,); None: a share is drawn."""

    source: str
    entity: Texts
    label: F64
    test: NDArray[np.bool_] | None


def read_static_rows(settings: PartySettings, folder: Path, data: Path) -> StaticRows:
    """Run the party's feature query and check every row. Raises what :func:`parties.data.query.run_query` does."""
    source = Path(settings.query).name
    frame = _frame(settings, folder / settings.query, data, (), settings.columns)
    check_frame(frame, source, dict.fromkeys(settings.columns, "feature"), settings.column_schema)
    values = np.column_stack([frame[name].to_numpy(dtype=np.float64) for name in settings.columns])
    return StaticRows(source, frame["entity"].to_numpy(dtype=object), values)


def label_reader(terms: StaticTerms) -> Callable[[PartySettings, LabelSettings, Path, Path], StaticLabels]:
    """:func:`read_static_labels` under these terms."""

    def read(settings: PartySettings, label: LabelSettings, folder: Path, data: Path) -> StaticLabels:
        return read_static_labels(settings, label, folder, data, terms)

    return read


def read_static_labels(
    settings: PartySettings, label: LabelSettings, folder: Path, data: Path, terms: StaticTerms
) -> StaticLabels:
    """Run the label query. Raises :class:`DataError` for a label that is no 0 or 1 where the terms say binary, or
    none of the classes that they count, and for a part that is neither training nor test."""
    source, texts = Path(label.query).name, () if terms.test_share is not None else ("part",)
    frame = _frame(settings, folder / label.query, data, texts, ("label",))
    check_frame(frame, source, {"label": "feature", "part": "text"})
    values = frame["label"].to_numpy(dtype=np.float64)
    odd = np.flatnonzero(np.isfinite(values) & ~np.isin(values, (0.0, 1.0)))
    if terms.label == "binary" and odd.size:
        raise DataError(
            f"{source}: {row_name(frame, int(odd[0]))}: label {values[odd[0]]:g} is neither 0 nor 1; write the class "
            'to be scored high as 1 and the other as 0, or agree on static.label = "regression"'
        )
    none = np.flatnonzero(np.isfinite(values) & ~np.isin(values, np.arange(terms.classes or 0)))
    if terms.classes is not None and none.size:
        raise DataError(
            f"{source}: {row_name(frame, int(none[0]))}: label {values[none[0]]:g} is none of the {terms.classes} "
            f"agreed classes; write whole numbers from 0 to {terms.classes - 1}, or agree on another static.classes"
        )
    if not texts:
        return StaticLabels(source, frame["entity"].to_numpy(dtype=object), values, None)
    parts = frame["part"].str.strip().str.casefold()
    strange = np.flatnonzero(~parts.isin(PARTS).to_numpy())
    if strange.size:
        found = frame["part"].iloc[int(strange[0])]
        raise DataError(
            f"{source}: {row_name(frame, int(strange[0]))}: part {found!r} is neither 'training' nor 'test'; write one "
            "of the two, or agree on static.test_share"
        )
    return StaticLabels(source, frame["entity"].to_numpy(dtype=object), values, (parts == TEST).to_numpy())


def _frame(
    settings: PartySettings, path: Path, data: Path, texts: Sequence[str], numbers: Sequence[str]
) -> pd.DataFrame:
    """The result's entity, ``texts`` and ``numbers``."""
    source, read_as_text = path.name, ("entity", *texts)

    def expressions(result: ResultColumns) -> list[str]:
        missing = [name for name in (*read_as_text, *numbers) if name not in result.types]
        if missing:
            why = "; it says training or test, or agree on static.test_share" if missing[0] == "part" else ""
            raise DataError(
                f"{source}: column {missing[0]!r} is missing from the result; add it to the SELECT "
                f"(it has {', '.join(result.types)}){why}",
                missing[0] if missing[0] in numbers else "",
            )
        return [
            *(text_column(source, name, result) for name in read_as_text),
            *(number_column(source, name, result) for name in numbers),
        ]

    table = run_query(path, data, expressions, postgres=settings.postgres, s3=settings.s3)
    columns = {name: np.array(table[name].to_pylist(), dtype=object) for name in read_as_text}
    frame = pd.DataFrame(columns | {name: table[name].to_numpy() for name in numbers})
    return frame.astype(dict.fromkeys(read_as_text, object))
