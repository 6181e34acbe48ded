"""``entente factors portfolio``: from a bundle to weights that backtrader trades, to the profit we say."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from parties.cli import run
from parties.factor.tables import open_folder
from tests.vfl.bundles import calendar, instruments, made_up, signer
from vfl.factors.export import export_bundle

T, N = 16, 40
DATES = pd.DatetimeIndex(calendar(T).periods)
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(T, N))
PRICES = 50 * np.cumprod(1 + 0.03 * RNG.normal(size=(T, N)), axis=0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("factors") / "demo-joint" / "1"
    for name, content in export_bundle(made_up(periods=T, count=N, scores=SCORES), signer()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory):
    index = pd.MultiIndex.from_product([DATES, instruments(N)], names=["datetime", "instrument"])
    columns = {
        "price": PRICES,
        "sector": np.tile(np.array(["energy", "banks"])[np.arange(N) % 2], (T, 1)),
        "beta": 1 + 0.2 * RNG.normal(size=(T, N)),
        "volatility": np.full((T, N), 0.02),
        "dollar_volume": np.full((T, N), 1e8),
    }
    path = tmp_path_factory.mktemp("market") / "market.csv"
    pd.DataFrame({name: np.reshape(values, -1) for name, values in columns.items()}, index=index).to_csv(path)
    return path


def portfolio(bundle, market, out, *more: str) -> int:
    return run(["factors", "portfolio", str(bundle), "--market", str(market), "--out", str(out), *more])


def test_a_backtester_earns_what_the_findings_say(bundle, market, tmp_path, capsys):
    out, told = tmp_path / "weights.csv", tmp_path / "found.json"
    terms = ("--capital", "1e8", "--ic", "0.2", "--impact", "0", "--max-weight", "0.1", "--findings", str(told))
    assert portfolio(bundle, market, out, *terms, "--report", str(tmp_path / "book.html")) == 0
    said, page = capsys.readouterr().out, (tmp_path / "book.html").read_text()
    assert "weights are fractions of capital" in said
    verdict = said.splitlines()[0].removeprefix("Verdict: ").partition("after costs")[0]
    assert "of capital traded a period; annual Sharpe ratio" in verdict
    assert verdict in page
    assert "By liquidity" in page
    weights = pd.read_csv(out, parse_dates=["datetime", "available_at"], keep_default_na=False)
    assert list(weights.columns) == ["datetime", "instrument", "weight", "available_at"]
    assert (weights["available_at"].dt.tz_localize(None) >= weights["datetime"]).all()
    wide = weights.pivot(index="datetime", columns="instrument", values="weight").fillna(0.0)
    numbers = json.loads(told.read_text())["numbers"]["target_book"]
    periods = numbers["net_return"]["n"]
    assert backtested(wide, 1e8) == pytest.approx(numbers["net_return"]["value"] * periods, abs=2e-4)
    assert numbers["turnover"]["value"] > 0.1


def backtested(wide: pd.DataFrame, cash: float) -> float:
    """Profit over all periods as a fraction of ``cash``: weights of that cash, traded at the close that they see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import backtrader

        class Targets(backtrader.Strategy):
            def next(self):
                day = pd.Timestamp(self.datetime.date())
                for data in self.datas:
                    self.order_target_size(data, round(wide.at[day, data._name] * cash / data.close[0]))

        engine = backtrader.Cerebro(stdstats=False)
        engine.broker.setcash(cash)
        engine.broker.set_coc(True)
        engine.broker.set_checksubmit(False)
        engine.broker.setcommission(commission=10 / 1e4)
        for k, name in enumerate(instruments(N)):
            close = pd.DataFrame(
                dict.fromkeys(("open", "high", "low", "close"), PRICES[:, k]) | {"volume": 1e9}, index=DATES
            )
            engine.adddata(backtrader.feeds.PandasData(dataname=close), name=name)
        engine.addstrategy(Targets)
        engine.run()
        return engine.broker.getvalue() / cash - 1


def test_parquet_holds_the_same_and_closes_what_is_left(bundle, market, tmp_path):
    for name in ("weights.csv", "weights.parquet"):
        assert portfolio(bundle, market, tmp_path / name) == 0
    binary = pd.read_parquet(tmp_path / "weights.parquet")
    text = pd.read_csv(tmp_path / "weights.csv")
    np.testing.assert_array_equal(binary["weight"].to_numpy(), text["weight"].to_numpy())
    assert binary.index.names == ["datetime", "instrument"]
    factor = open_folder(bundle)
    assert set(factor.factor.index) <= set(binary.index)


@pytest.mark.parametrize(
    ("out", "drop", "more", "says"),
    [
        ("weights.txt", None, (), "weights are written as .csv or .parquet"),
        ("w.csv", "beta", (), "the market has no column beta"),
        ("w.csv", None, ("--gross", "0"), "gross is 0: give a number above 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(bundle, market, tmp_path, capsys, out, drop, more, says):
    given = market
    if drop:
        given = tmp_path / "less.csv"
        pd.read_csv(market, keep_default_na=False).drop(columns=drop).to_csv(given, index=False)
    assert portfolio(bundle, given, tmp_path / out, *more) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / out).exists()
