"""A factor as one file for whoever reads it next: the same bytes from the command line and from the desk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from parties.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Format", "Written", "plain_csv", "write_form"]


class Format(StrEnum):
    """Where a factor goes."""

    ALPHALENS = "alphalens"
    QLIB = "qlib"
    NUMERAI = "numerai"
    ZIPLINE = "zipline"


@dataclass(frozen=True)
class Written:
    """A file's content, and what its reader must know; {name} stands for the file's name."""

    content: bytes
    hint: str


def write_form(
    form: Format, factor: pd.DataFrame, available_at: pd.Series, id_column: str = "numerai_ticker"
) -> Written:
    """The factor in ``form``. factor: by (datetime, instrument); available_at: UTC, per row of it.

    Raises :class:`DataError` where this factor has no such file, :class:`ConfigError` for an unknown id column.
    """
    from vfl.factors.adapters import NotApplicable, alphalens_csv, qlib_parquet, signals_csv, zipline_wide

    try:
        if form is Format.ALPHALENS:
            return Written(alphalens_csv(factor), "date,asset,factor; pass filter_zscore=None to alphalens")
        if form is Format.QLIB:
            return Written(qlib_parquet(factor), 'StaticDataLoader("{name}") loads it')
        if form is Format.NUMERAI:
            name, content = signals_csv(factor, id_column)
            return Written(content, f"the latest period, {name[8:16]}; fill it to Numerai's universe before scoring")
        hint = "rows are the first sessions the scores can be traded on; map the columns to int64 sids"
        return Written(zipline_wide(factor, available_at), hint)
    except NotApplicable as reason:
        raise DataError(str(reason)) from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def plain_csv(factor: pd.DataFrame) -> bytes:
    """``factor.parquet`` as text: datetime, instrument and every column, numbers as exact as they are.

    A name that a spreadsheet would take for a formula gets an apostrophe.
    """
    import pandas as pd

    from vfl.factors.csv_cells import inert

    table = factor.reset_index()
    table["datetime"] = table["datetime"].dt.strftime("%Y-%m-%d")
    for name in table.columns:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(lambda value: inert(str(value)), na_action="ignore")
    text: str = table.rename(columns=lambda name: inert(str(name))).to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8")
