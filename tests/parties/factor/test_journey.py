"""A factor's whole way: trained, validated, bundled, exported by command, and read by the libraries it is made for."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.cli import run
from tests.parties.planted_rig import staged
from tests.vfl.bundles import METADATA, calendar, instruments, made_up, signer
from tests.vfl.qlib_rig import PYTHON, needs_qlib, read_by_qlib
from vfl.factors.evaluate import evaluate, ic_by_period
from vfl.factors.export import export_bundle
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.factors.validation import Subject, battery
from vfl.models.split.twin import train_in_the_clear
from vfl.terms import RidgeModel, WalkForward

T, N = 26, 120
WHEN = calendar(T)
DATES = pd.DatetimeIndex(WHEN.periods)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """The bundle of a walk-forward run over three funds' features, its scores and the labels."""
    rng = np.random.default_rng(2)
    never = np.full((T, N), np.datetime64("NaT", "ns"))
    funds = [
        FeaturePanel(("a", "b"), rng.normal(size=(T, N, 2)), np.ones((T, N), dtype=bool), never, never)
        for _ in range(3)
    ]
    label = 0.3 * sum(fund.values.sum(axis=2) for fund in funds) + rng.normal(size=(T, N))
    known = np.repeat(np.arange(1, T + 1)[:, None], N, axis=1)
    panel = LabelPanel(funds[0], label, known, np.ones((T, N), dtype=bool))
    result, _ = train_in_the_clear(
        funds[1:], panel, RidgeModel(alpha=10.0), WalkForward(), row_limit=4, reserved=0, weights=[]
    )
    bundle = made_up(
        periods=T,
        count=N,
        scores=result.scores,
        metadata=METADATA,
        validation=evaluate({"joint": result.scores}, label, WHEN.periods, horizon=1),
        findings=battery(
            Subject(WHEN.periods, result.scores, label, 1, known_from=known, embeddings=result.embeddings)
        ),
    )
    folder = tmp_path_factory.mktemp("journey")
    for name, content in export_bundle(bundle, signer()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder, result.scores, label


def exported(folder: Path, form: str, out: Path) -> Path:
    assert run(["factors", "export", str(folder), "--format", form, "--out", str(out)]) == 0
    return out


def ours(scores: np.ndarray, labels: np.ndarray) -> pd.Series:
    return pd.Series(ic_by_period(scores, labels), index=DATES).dropna()


def test_into_alphalens(journey, tmp_path) -> None:
    alphalens = pytest.importorskip("alphalens")
    folder, scores, label = journey
    path = exported(folder, "alphalens", tmp_path / "factor.csv")
    table = pd.read_csv(path, dtype={"asset": str}, parse_dates=["date"], keep_default_na=False)
    factor = table.set_index(["date", "asset"])["factor"]
    returns = 0.01 * label
    days = DATES.append(pd.DatetimeIndex([DATES[-1] + pd.Timedelta(days=7)]))
    prices = pd.DataFrame(
        100 * np.vstack([np.ones(N), np.cumprod(1 + returns, axis=0)]), index=days, columns=list(instruments(N))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = alphalens.utils.get_clean_factor_and_forward_returns(factor, prices, periods=(1,), filter_zscore=None)
        ic = alphalens.performance.factor_information_coefficient(data).dropna()
        spread, _ = alphalens.performance.mean_return_by_quantile(data)
        turned = alphalens.performance.quantile_turnover(data["factor_quantile"], 5).dropna()
    np.testing.assert_allclose(ic.iloc[:, 0], ours(scores, label), atol=1e-9)
    assert spread.iloc[:, 0].is_monotonic_increasing
    assert turned.between(0, 1).all()


def test_into_numerai(journey, tmp_path) -> None:
    from numerai_tools.scoring import numerai_corr
    from numerai_tools.submissions import clean_submission, validate_submission_signals

    folder, scores, label = journey
    path = exported(folder, "numerai", tmp_path / "signals.csv")
    submission = pd.read_csv(path, dtype={"numerai_ticker": str}, keep_default_na=False)
    universe = pd.DataFrame({"numerai_ticker": instruments(N)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids, signal, _, valid, unknown = validate_submission_signals(universe, submission)
        filled = clean_submission(universe, valid, ids, signal, rank_and_fill=True)
    assert unknown == []
    target = pd.Series(label[-1], index=list(instruments(N)), name="target").rank().pipe(lambda r: (r - 0.5) / len(r))
    score = float(numerai_corr(filled.to_frame(), target.reindex(filled.index))["signal"])
    assert score == pytest.approx(ours(scores, label).iloc[-1], abs=0.1)


@needs_qlib
def test_into_qlib(journey, tmp_path) -> None:
    folder, scores, label = journey
    path = exported(folder, "qlib", tmp_path / "factor.parquet")
    index = pd.MultiIndex.from_product([DATES, instruments(N)], names=["datetime", "instrument"])
    told = read_by_qlib(path, pd.Series(label.reshape(-1), index=index), tmp_path)
    np.testing.assert_allclose(told["rank_ic"], ours(scores, label), atol=1e-12)


def test_into_zipline(journey, tmp_path) -> None:
    """Row and column as ``DataFrameLoader`` asks for them: each session's row is what was known before it opened."""
    folder, scores, _ = journey
    wide = pd.read_parquet(exported(folder, "zipline", tmp_path / "wide.parquet"))
    sids = {name: sid for sid, name in enumerate(wide.columns)}
    baseline = wide.rename(columns=sids)
    baseline.columns = baseline.columns.astype("int64")
    sessions = pd.bdate_range(wide.index[0], wide.index[-1])
    held = baseline.reindex(sessions).ffill()
    pit = pd.read_parquet(folder / "pit.parquet")["available_at"].dt.tz_localize(None)
    for session in sessions[::9]:
        known = pit[pit <= session].index.get_level_values("datetime").max()
        expected = scores[DATES.get_loc(known)]
        np.testing.assert_array_equal(held.loc[session].reindex([sids[n] for n in instruments(N)]), expected)


@pytest.mark.system
def test_from_an_encrypted_run_into_each_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bundle as a recipient's node keeps it: exported by command, scored by the library, as the run reported."""
    with staged(tmp_path, n := 104) as stage:
        run_id, reason = stage.settled(capsys, str(tmp_path / "consortium.toml"))
        assert reason == ""
    folder = stage.homes.party("a") / "factors" / "planted-next" / run_id[:12]
    told = json.loads((folder / "validation.json").read_text())
    reported = [ic for ic in told["models"]["joint"]["rank"]["by_period"] if ic is not None]
    labels = pd.read_csv(tmp_path / "label.csv", parse_dates=["period"]).rename(columns={"entity": "instrument"})
    labels = labels.assign(datetime=labels["period"], instrument=labels["instrument"].astype(str))
    label = labels.set_index(["datetime", "instrument"])["label"]
    mine = pd.read_parquet(folder / "factor.parquet")["score"]
    assert set(mine.index.get_level_values("instrument")) == set(label.index.get_level_values("instrument"))

    days = label.index.get_level_values("datetime").unique().sort_values()
    later = days.append(pd.DatetimeIndex([days[-1] + pd.Timedelta(days=31)]))
    grid = label.unstack("instrument")
    prices = pd.DataFrame(np.vstack([np.ones(n), np.cumprod(1 + 0.01 * grid, axis=0)]), later, grid.columns)
    table = pd.read_csv(exported(folder, "alphalens", tmp_path / "factor.csv"), parse_dates=["date"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alphalens = pytest.importorskip("alphalens")
        data = alphalens.utils.get_clean_factor_and_forward_returns(
            table.set_index(["date", "asset"])["factor"], prices, periods=(1,), filter_zscore=None
        )
        ic = alphalens.performance.factor_information_coefficient(data).dropna().iloc[:, 0]
    np.testing.assert_allclose(ic[: len(reported)], reported, atol=1e-9)

    from numerai_tools.submissions import clean_submission, validate_submission_signals

    submission = pd.read_csv(exported(folder, "numerai", tmp_path / "signals.csv"), dtype={"numerai_ticker": str})
    universe = pd.DataFrame({"numerai_ticker": sorted(set(mine.index.get_level_values("instrument")))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ids, signal, _, valid, unknown = validate_submission_signals(universe, submission)
        filled = clean_submission(universe, valid, ids, signal, rank_and_fill=True)
    assert unknown == []
    last = mine.xs(mine.index.get_level_values("datetime").max())
    assert filled.corr(last.reindex(filled.index), method="spearman") == pytest.approx(1)
    if PYTHON.is_file():
        read = read_by_qlib(exported(folder, "qlib", tmp_path / "factor.parquet"), label, tmp_path)
        np.testing.assert_allclose(read["rank_ic"][: len(reported)], reported, atol=1e-9)
