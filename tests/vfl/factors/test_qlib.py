"""The qlib file in qlib itself: it loads, selects, and gives our IC. Needs ``make qlib``; else skipped."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.vfl.bundles import made_up
from tests.vfl.qlib_rig import needs_qlib, read_by_qlib
from vfl.factors.adapters import qlib_parquet
from vfl.factors.evaluate import Method, ic_by_period
from vfl.factors.export import export_bundle

pytestmark = needs_qlib

BUNDLE = made_up()
LABELS = np.random.default_rng(1).normal(size=BUNDLE.scores.shape) + 0.2 * np.nan_to_num(BUNDLE.scores)
DATES = pd.DatetimeIndex(BUNDLE.calendar.periods)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(export_bundle(BUNDLE)["factor.parquet"]))


@pytest.fixture(scope="module")
def told(frame, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("qlib")
    (folder / "factor.parquet").write_bytes(qlib_parquet(frame))
    index = pd.MultiIndex.from_product([DATES, BUNDLE.instruments], names=["datetime", "instrument"])
    return read_by_qlib(folder / "factor.parquet", pd.Series(LABELS.reshape(-1), index=index), folder)


def by_row(rows: list[list[Any]]) -> dict[tuple[str, str], float]:
    return {(day, name): value for day, name, value in rows}


def test_a_static_loader_and_a_handler_read_it(told, frame) -> None:
    ours = {(f"{day:%Y-%m-%d}", name): value for (day, name), value in frame["score"].items()}
    assert by_row(told["score"]) == ours
    assert by_row(told["fetched"]) == ours
    chosen = {key: value for key, value in ours.items() if key[1] in ("NA", "T001") and "2024-02" in key[0]}
    assert by_row(told["selected"]) == {key: value for key, value in chosen.items() if key[0] <= "2024-02-20"}


@pytest.mark.parametrize(("name", "method"), [("ic", "pearson"), ("rank_ic", "rank")])
def test_qlibs_ic_is_ours(told, name: str, method: Method) -> None:
    ours = pd.Series(ic_by_period(BUNDLE.scores, LABELS, method), index=DATES).dropna()
    np.testing.assert_allclose(told[name], ours.to_numpy(), atol=1e-12)
