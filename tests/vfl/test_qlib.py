"""The qlib file in qlib itself: it loads, selects, and gives our IC. Needs ``pip install pyqlib``; else skipped."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pandas as pd
import pytest

from tests.vfl.bundles import made_up
from vfl.factors.adapters import qlib_parquet
from vfl.factors.evaluate import ic_by_period
from vfl.factors.export import export_bundle

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(importlib.util.find_spec("qlib") is None, reason="pyqlib is not installed: pip install pyqlib"),
]

BUNDLE = made_up()


@pytest.fixture
def path(tmp_path):
    frame = pd.read_parquet(io.BytesIO(export_bundle(BUNDLE)["factor.parquet"]))
    (tmp_path / "factor.parquet").write_bytes(qlib_parquet(frame))
    return str(tmp_path / "factor.parquet"), frame


def test_a_static_loader_and_a_handler_read_it(path):
    from qlib.data.dataset.handler import DataHandler
    from qlib.data.dataset.loader import StaticDataLoader

    name, frame = path
    loaded = StaticDataLoader(name).load()
    assert loaded[("feature", "score")].to_dict() == frame["score"].to_dict()
    part = StaticDataLoader(name).load(instruments=["NA", "T001"], start_time="2024-02-01", end_time="2024-02-20")
    assert set(part.index.get_level_values("instrument")) == {"NA", "T001"}
    fetched = DataHandler(data_loader=StaticDataLoader(name)).fetch(col_set="feature")
    assert fetched["score"].to_dict() == frame["score"].to_dict()


def test_qlibs_ic_is_ours(path):
    from qlib.contrib.eva.alpha import calc_ic

    _, frame = path
    labels = np.random.default_rng(1).normal(size=BUNDLE.scores.shape) + 0.2 * np.nan_to_num(BUNDLE.scores)
    dates = pd.DatetimeIndex(BUNDLE.calendar.periods)
    index = pd.MultiIndex.from_product([dates, BUNDLE.instruments], names=["datetime", "instrument"])
    label = pd.Series(labels.reshape(-1), index=index).reindex(frame.index)
    pearson, rank = calc_ic(frame["score"], label)
    for theirs, method in ((pearson, "pearson"), (rank, "rank")):
        ours = pd.Series(ic_by_period(BUNDLE.scores, labels, method), index=dates).dropna()
        np.testing.assert_allclose(theirs.to_numpy(), ours.to_numpy(), atol=1e-12)
