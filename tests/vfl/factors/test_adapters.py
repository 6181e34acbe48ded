"""Each adapter file, loaded by the library it is made for; and the quant guide, run as it stands."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
from numerai_tools.scoring import numerai_corr
from numerai_tools.submissions import clean_submission, validate_submission_signals

from tests.places import ROOT
from tests.vfl.bundles import MESSY, made_up, signer
from vfl.factors.adapters import SIGNALS_ID_COLUMNS, NotApplicable, alphalens_csv, parquet, signals_csv, zipline_wide
from vfl.factors.evaluate import ic_by_period
from vfl.factors.export import FactorBundle, export_bundle

F = TypeVar("F", bound=Callable[..., Any])

GUIDE = ROOT / "docs" / "quant-guide.md"

DEPRECATED = "pandas.errors.Pandas4Warning"


def tolerated(*warnings: str) -> Callable[[F], F]:
    """Let exactly these warnings of a consumer library pass: names that pandas 3.1 deprecates, and one remark."""

    def mark(test: F) -> F:
        for warning in warnings:
            test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
        return test

    return mark


ALPHALENS = (
    f"DatetimeIndex.dayofweek is deprecated:{DEPRECATED}:alphalens.utils",
    f"The inplace keyword in DataFrame.set_index is deprecated:{DEPRECATED}:alphalens.utils",
    "Factor dates do not conform to the inferred trading calendar:UserWarning:alphalens.utils",  # weekly, not daily
)
NUMERAI = (f"The inplace keyword in DataFrame.drop is deprecated:{DEPRECATED}:numerai_tools.submissions",)

BUNDLE = made_up()
FILES = export_bundle(BUNDLE, signer())


def prices_for(bundle: FactorBundle, seed: int = 3) -> pd.DataFrame:
    """Business-day prices whose week after each decision leans towards the score."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range(bundle.calendar.periods[0], periods=5 * len(bundle.calendar) + 6)
    drift = np.zeros((len(days), len(bundle.instruments)))
    for t, period in enumerate(bundle.calendar.periods):
        at = days.get_loc(period)
        drift[at + 1 : at + 6] = np.nan_to_num(bundle.scores[t]) * 0.004
    returns = drift + 0.01 * rng.normal(size=drift.shape)
    return pd.DataFrame(100 * np.exp(returns.cumsum(axis=0)), index=days, columns=list(bundle.instruments))


def factor_frame() -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(FILES["factor.parquet"]))


@tolerated(*ALPHALENS)
def test_alphalens_reads_the_csv_and_agrees_with_our_rank_ic():
    alphalens = pytest.importorskip("alphalens")
    table = pd.read_csv(
        io.BytesIO(FILES["adapters/alphalens.csv"]), dtype={"asset": str}, parse_dates=["date"], keep_default_na=False
    )
    assert list(table.columns) == ["date", "asset", "factor"]
    factor = table.set_index(["date", "asset"])["factor"]
    assert factor.to_dict() == factor_frame()["score"].to_dict()
    prices = prices_for(BUNDLE)
    data = alphalens.utils.get_clean_factor_and_forward_returns(factor, prices, periods=(5,), filter_zscore=None)
    theirs = alphalens.performance.factor_information_coefficient(data).dropna()

    dates = pd.DatetimeIndex(BUNDLE.calendar.periods)
    ahead = (prices.shift(-5) / prices - 1).loc[dates].to_numpy()
    ours = pd.Series(ic_by_period(BUNDLE.scores, ahead), index=dates).dropna()
    assert list(theirs.index) == list(ours.index)
    np.testing.assert_allclose(theirs.iloc[:, 0], ours, atol=1e-12)
    assert ours.mean() > 0.3


@tolerated(*NUMERAI)
def test_numerai_accepts_the_submission_and_scores_it():
    name, content = signals_csv(factor_frame())
    assert FILES[f"adapters/{name}"] == content
    submission = pd.read_csv(io.BytesIO(content), dtype={"numerai_ticker": str}, keep_default_na=False)
    last = pd.Series(BUNDLE.scores[-1], index=BUNDLE.instruments).dropna().sort_index()
    universe = pd.DataFrame({"numerai_ticker": [*last.index, "ELSE1", "ELSE2"]})
    ids, signal, date, valid, unknown = validate_submission_signals(universe, submission.copy())
    assert (ids, signal, date, unknown) == ("numerai_ticker", "signal", None, [])
    oracle = (last.rank() - 0.5) / len(last)
    pd.testing.assert_series_equal(valid.set_index(ids)[signal].sort_index(), oracle, check_names=False)
    assert valid[signal].between(0, 1, inclusive="neither").all()

    filled = clean_submission(universe, valid, ids, signal, rank_and_fill=True)
    assert len(filled) == len(universe)
    best = filled.rank().pipe(lambda r: (r - 0.5) / len(r))
    rng = np.random.default_rng(1)
    score = [
        float(numerai_corr(filled.to_frame(), pd.Series(target, index=filled.index, name="target"))["signal"])
        for target in (best, 1 - best, pd.Series(rng.permutation(best), index=best.index))
    ]
    assert score[0] > 0.95
    assert score[1] < -0.95
    assert abs(score[2]) < 0.3


@tolerated(*NUMERAI)
@pytest.mark.parametrize("column", SIGNALS_ID_COLUMNS)
def test_numerai_knows_every_id_column_we_offer(column):
    submission = pd.read_csv(
        io.BytesIO(signals_csv(factor_frame(), column)[1]), dtype={column: str}, keep_default_na=False
    )
    got = validate_submission_signals(pd.DataFrame({column: submission[column]}), submission)
    assert got[:2] == (column, "signal")


def test_tied_scores_share_a_signal():
    frame = factor_frame().round(0)
    last = frame.xs(frame.index.get_level_values("datetime").max())["score"]
    table = pd.read_csv(io.BytesIO(signals_csv(frame)[1]), dtype={"numerai_ticker": str}, keep_default_na=False)
    signal = table.set_index("numerai_ticker")["signal"]
    assert signal.groupby(last).nunique().eq(1).all()
    assert signal.mean() == pytest.approx(0.5)


def test_no_submission_where_numerai_would_refuse_it():
    frame = factor_frame()
    with pytest.raises(NotApplicable, match="at least 100 ids; the latest period has 99"):
        signals_csv(frame.groupby(level="datetime").head(99))
    with pytest.raises(NotApplicable, match="constant"):
        signals_csv(frame * 0)


def test_messy_tickers_survive_every_file():
    expected = set(BUNDLE.instruments)
    assert set(MESSY) < expected
    read = {"keep_default_na": False}
    alphalens_assets = pd.read_csv(io.BytesIO(FILES["adapters/alphalens.csv"]), dtype={"asset": str}, **read)["asset"]
    assert set(alphalens_assets) == expected
    assert set(factor_frame().index.get_level_values("instrument")) == expected
    wide = pd.read_parquet(io.BytesIO(FILES["adapters/zipline_wide.parquet"]))
    assert set(wide.columns) == expected


def test_zipline_rows_are_sessions_after_availability():
    pit = pd.read_parquet(io.BytesIO(FILES["pit.parquet"]))
    wide = pd.read_parquet(io.BytesIO(FILES["adapters/zipline_wide.parquet"]))
    sessions = pd.DatetimeIndex(wide.index)
    assert (sessions.day_of_week == 0).all()  # cutoff on Friday night: Monday
    first_of = pit["available_at"].dt.tz_localize(None).groupby(level="datetime").max()
    assert ((sessions - first_of.to_numpy()) >= pd.Timedelta(0)).all()
    assert ((sessions - first_of.to_numpy()) < pd.Timedelta(days=3)).all()
    for t, session in enumerate(sessions, start=2):
        got = wide.loc[session].reindex(list(BUNDLE.instruments)).to_numpy()
        np.testing.assert_array_equal(got, BUNDLE.scores[t])


def test_zipline_takes_the_later_decision_of_a_weekend():
    index = pd.MultiIndex.from_product(
        [pd.to_datetime(["2024-03-01", "2024-03-02", "2024-03-04"]), ["A"]], names=["datetime", "instrument"]
    )
    frame = pd.DataFrame({"score": [1.0, 2.0, 3.0]}, index=index)
    ready = pd.Series(
        pd.to_datetime(["2024-03-01 22:00", "2024-03-02 22:00", "2024-03-05 00:00"], utc=True), index=index
    )
    wide = pd.read_parquet(io.BytesIO(zipline_wide(frame, ready)))
    assert wide["A"].to_dict() == {pd.Timestamp("2024-03-04"): 2.0, pd.Timestamp("2024-03-05"): 3.0}


def test_floats_survive_the_csv_exactly():
    frame = factor_frame()
    text = alphalens_csv(frame).decode()
    assert "\r" not in text
    values = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)["factor"].map(float)
    assert values.tolist() == frame["score"].tolist()


def test_parquet_of_a_frame_reads_back_the_frame():
    frame = factor_frame()
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet(frame))), frame)


@tolerated(*ALPHALENS, *NUMERAI)
def test_the_guides_python_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("alphalens")
    folder = tmp_path / "factors" / "demo-joint" / "1"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "bank-identity-key.hex").write_text(signer().public_key.hex())
    prices_for(BUNDLE).to_parquet(tmp_path / "prices.parquet")
    ids = [*BUNDLE.instruments, "ELSE1"]
    target = np.random.default_rng(4).choice([0.0, 0.25, 0.5, 0.75, 1.0], len(ids))
    pd.DataFrame({"numerai_ticker": ids, "target": target}).to_parquet(tmp_path / "signals-universe.parquet")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"{GUIDE.name} block {number}", "exec"), names)
    validation = json.loads(FILES["validation.json"])
    assert str(validation["models"]["joint"]["rank"]["t"]) in capsys.readouterr().out


def test_the_guide_names_every_file_of_a_bundle():
    text = GUIDE.read_text(encoding="utf-8")
    for name in FILES:
        shown = re.sub(r"signals_\d{8}", "signals_YYYYMMDD", name)
        assert f"`{shown}`" in text or f"`{shown.split('/')[0]}/`" in text, f"{name} is not in the guide"
