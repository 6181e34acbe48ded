"""Target weights as a file: one row for each instrument that is scored or held, with when it could be traded on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from parties.factor.tables import FactorFolder

__all__ = ["weights_file"]


def weights_file(weights: NDArray[np.float64], bundle: FactorFolder, suffix: str) -> bytes:
    """weights (T, n) on the bundle's grid, as CSV or Parquet: datetime, instrument, weight, available_at (UTC).

    A position that is closed has a row with weight 0. Where an instrument has no score, ``available_at`` is the latest
    of its session's scores.
    """
    import pandas as pd

    from vfl.factors.adapters import parquet
    from vfl.factors.csv_cells import inert

    held = weights != 0
    shown = ~np.isnan(bundle.scores) | held
    shown[1:] |= held[:-1]
    row, column = np.nonzero(shown)
    names = np.asarray(bundle.instruments, dtype=object)
    frame = pd.DataFrame(
        {"datetime": bundle.dates[row], "instrument": names[column], "weight": weights[row, column]}
    ).set_index(["datetime", "instrument"])
    ready = bundle.pit["available_at"]
    latest = ready.groupby(level="datetime").max()
    own = ready.reindex(frame.index)
    of_session = latest.reindex(frame.index.get_level_values("datetime")).set_axis(frame.index)
    frame["available_at"] = own.fillna(of_session)
    if suffix == ".parquet":
        return parquet(frame)
    table = frame.reset_index()
    table["datetime"] = table["datetime"].dt.strftime("%Y-%m-%d")
    table["instrument"] = table["instrument"].map(inert)
    table["available_at"] = table["available_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8")
