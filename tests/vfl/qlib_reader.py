"""Run by qlib's own Python: what qlib makes of a factor file, as JSON on standard output.

    python -I qlib_reader.py FACTOR.parquet LABELS.parquet

``score``: the file through ``StaticDataLoader``; ``selected``: some instruments and dates of it; ``fetched``: through a
``DataHandler``; ``ic``, ``rank_ic``: qlib's by date, on LABELS (column label by datetime and instrument).
"""

from __future__ import annotations

import json
import sys
import warnings

warnings.simplefilter("ignore")

import pandas as pd  # noqa: E402
from qlib.contrib.eva.alpha import calc_ic  # noqa: E402
from qlib.data.dataset.handler import DataHandler  # noqa: E402
from qlib.data.dataset.loader import StaticDataLoader  # noqa: E402


def rows(values: pd.Series) -> list[tuple[str, str, float]]:
    return [(f"{when:%Y-%m-%d}", name, float(value)) for (when, name), value in values.items()]


def main(factor: str, labels: str) -> None:
    loaded = StaticDataLoader(factor).load()[("feature", "score")]
    names = sorted(set(loaded.index.get_level_values("instrument")) & {"NA", "T001"})
    window = {"start_time": "2024-02-01", "end_time": "2024-02-20"}
    some = StaticDataLoader(factor).load(instruments=names, **window) if names else loaded.to_frame().iloc[:0]
    fetched = DataHandler(data_loader=StaticDataLoader(factor)).fetch(col_set="feature")["score"]
    plain, rank = calc_ic(loaded, pd.read_parquet(labels)["label"].reindex(loaded.index))
    told = {
        "score": rows(loaded),
        "selected": rows(some[("feature", "score")]),
        "fetched": rows(fetched),
        "ic": [float(value) for value in plain],
        "rank_ic": [float(value) for value in rank],
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
