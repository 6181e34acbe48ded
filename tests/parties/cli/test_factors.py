"""``entente factors``: from a bundle on disk to other tools, to a fund's own verdict, and to live monitoring."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.cli import run
from parties.factor.fund_tables import read_values
from parties.factor.tables import open_folder
from tests.vfl.bundles import METADATA, calendar, instruments, made_up, signer
from vfl.factors.adapters import alphalens_csv, qlib_parquet
from vfl.factors.evaluate import evaluate
from vfl.factors.export import FactorBundle, export_bundle
from vfl.factors.findings import Findings
from vfl.factors.joining import uplift_findings
from vfl.factors.validation import Subject, battery

T, N = 40, 110
RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(T, N))
LABELS = 0.25 * SCORES + RNG.normal(size=SCORES.shape)
OWN = 0.5 * SCORES + RNG.normal(size=SCORES.shape)
KNOWN = 26  # periods whose labels were known at publication
DATES = pd.DatetimeIndex(calendar(T).periods)


def bundle_of(seed: int = 0) -> FactorBundle:
    known = LABELS.copy()
    known[KNOWN:] = np.nan
    periods = calendar(T).periods
    return made_up(
        periods=T,
        count=N,
        scores=SCORES,
        metadata=METADATA.model_copy(update={"version": str(seed)}),
        validation=evaluate({"joint": SCORES, "own": OWN}, known, periods, horizon=1),
        findings=battery(Subject(periods, SCORES, known, 1, own=OWN)),
    )


def write(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(export_bundle(bundle_of(), signer()), tmp_path_factory.mktemp("factors") / "demo-joint" / "1")


def table(values: np.ndarray, name: str, path: Path) -> Path:
    index = pd.MultiIndex.from_product([DATES, instruments(N)], names=["datetime", "instrument"])
    frame = pd.DataFrame({name: values.reshape(-1)}, index=index).dropna()
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path)
    return path


@pytest.fixture
def entente(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["factors", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_list_and_show(entente, bundle, tmp_path) -> None:
    code, out, _ = entente("list", bundle.parents[1])
    assert code == 0
    assert "demo-joint" in out
    assert f"{json.loads((bundle / 'validation.json').read_text())['models']['joint']['rank']['mean']:+.4f}" in out
    code, out, _ = entente("show", bundle)
    assert code == 0
    assert "Signed by bank." in out
    assert "Information coefficient" in out
    assert re.search(r"^left out: .*\blong short\b.* \(no prices were given\)$", out, re.MULTILINE)
    assert out.count("no prices were given)") == 1, "one line a reason"
    assert "Spearman" not in out
    assert "Spearman" in entente("show", bundle, "--all")[1]
    assert entente("show", bundle, "--charts", tmp_path / "img")[0] == 0
    drawn = {path.name: path.read_text() for path in (tmp_path / "img").iterdir()}
    assert {"rank_ic.svg", "quantiles.svg", "uplift.svg", "coverage.svg"} <= set(drawn)
    page = (bundle / "report.html").read_text()
    assert all(svg in page for svg in drawn.values())
    assert entente("list", bundle / "adapters")[1].startswith("No factor bundle lies below")


def test_a_changed_byte_is_named_before_anything_is_shown(entente, bundle, tmp_path) -> None:
    files = export_bundle(bundle_of(), signer())
    files["factor.parquet"] = files["factor.parquet"][:-1] + b"\0"
    changed = write(files, tmp_path / "changed")
    for command in (("show", changed), ("export", changed, "--format", "alphalens", "--out", tmp_path / "x.csv")):
        code, _, err = entente(*command)
        assert code == 3
        assert "factor.parquet: was changed" in err
    assert not (tmp_path / "x.csv").exists()
    code, out, _ = entente("list", tmp_path)
    assert code == 0
    assert "fault: " in out
    assert "No sound factor bundle" in out
    assert entente("show", tmp_path)[0] == 2


@pytest.mark.parametrize("form", ["alphalens", "qlib", "numerai", "zipline"])
def test_each_format_is_written_as_its_reader_wants_it(entente, bundle, tmp_path, form) -> None:
    out = tmp_path / ("x.csv" if form in {"alphalens", "numerai"} else "x.parquet")
    code, told, _ = entente("export", bundle, "--format", form, "--out", out)
    assert code == 0
    assert str(out) in told
    content = out.read_bytes()
    factor = pd.read_parquet(bundle / "factor.parquet")
    if form == "qlib":
        frame = pd.read_parquet(io.BytesIO(content))
        assert frame.columns.tolist() == [("feature", "score")]
        assert frame.index.names == ["datetime", "instrument"]
        assert frame[("feature", "score")].to_dict() == factor["score"].to_dict()
    elif form == "alphalens":
        assert content == alphalens_csv(factor)
    else:
        name = "zipline_wide.parquet" if form == "zipline" else next(bundle.glob("adapters/signals_*")).name
        assert content == (bundle / "adapters" / name).read_bytes()


def test_what_cannot_be_exported_says_why(entente, bundle, tmp_path) -> None:
    code, _, err = entente("export", bundle, "--format", "qlib", "--out", tmp_path / "x.pkl")
    assert (code, "must end in .parquet" in err) == (2, True)
    code, _, err = entente("export", bundle, "--format", "numerai", "--id-column", "isin", "--out", tmp_path / "x.csv")
    assert (code, "no id column 'isin'" in err) == (2, True)
    with pytest.raises(ValueError, match="price adjustment"):
        qlib_parquet(pd.read_parquet(bundle / "factor.parquet").rename(columns={"score": "factor"}))


def test_compare(entente, bundle, tmp_path) -> None:
    other = write(export_bundle(bundle_of(1)), tmp_path / "2")
    code, out, _ = entente("compare", bundle, other)
    assert code == 0
    assert "demo-joint 1" in out
    assert "rank correlation is +1.0000" in out


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_uplift_at_home(entente, bundle, tmp_path, suffix) -> None:
    own = table(OWN, "score", tmp_path / f"own{suffix}")
    labels = table(LABELS, "label", tmp_path / f"labels{suffix}")
    code, out, err = entente("uplift", bundle, "--own", own, "--labels", labels, "--out", tmp_path / "uplift.json")
    assert (code, err) == (0, "")
    assert "Uplift of joining" in out
    found = Findings.read(json.loads((tmp_path / "uplift.json").read_text()))
    order = np.argsort(instruments(N))
    expected = uplift_findings(SCORES[:, order], OWN[:, order], LABELS[:, order], calendar(T).periods, horizon=1)
    for name, number in expected.numbers["uplift"].items():
        assert found.value("uplift", name) == pytest.approx(number.value, nan_ok=True), name
    assert found.value("uplift", "rank_ic_difference_t") > 3


def test_uplift_without_labels_says_what_is_missing(entente, bundle, tmp_path) -> None:
    code, out, _ = entente("uplift", bundle, "--own", table(OWN, "score", tmp_path / "own.csv"))
    assert code == 0
    assert re.search(r"^left out: .*\bmmc\b.* \(no labels were given", out, re.MULTILINE)
    assert "correlation" in out


def test_monitor_as_labels_arrive(entente, bundle, tmp_path) -> None:
    labels = table(LABELS, "label", tmp_path / "labels.csv")
    code, out, _ = entente("monitor", bundle, "--labels", labels, "--window", 6, "--out", tmp_path / "live.json")
    assert code == 0
    assert out.startswith("Verdict: Live mean rank IC +0.235 over 14 periods, expected +0.199 to +0.292. Advice: keep.")
    record = json.loads((tmp_path / "live.json").read_text())
    assert record["advice"] == "keep"
    assert len(record["series"]["live_rank_ic"]["x"]) == T - KNOWN
    assert record["series"]["live_rank_ic"]["x"][0] == calendar(T).periods[KNOWN]
    broken = LABELS.copy()
    broken[KNOWN:] = RNG.normal(size=(T - KNOWN, N)) - 0.2 * SCORES[KNOWN:]
    code, out, _ = entente("monitor", bundle, "--labels", table(broken, "label", tmp_path / "worse.csv"))
    assert code == 0
    assert "Advice: retrain." in out
    assert "is below the expected" in out
    code, _, complaint = entente("monitor", bundle, "--labels", labels, "--half-life", "0")
    assert code == 2
    assert "--half-life 0 is no number of periods" in complaint


def test_monitor_warns_when_published_signals_come_to_explain_the_score(entente, bundle, tmp_path) -> None:
    labels, folder = table(LABELS, "label", tmp_path / "labels.csv"), tmp_path / "signals"
    folder.mkdir()
    drawn = np.random.default_rng(8).normal(size=SCORES.shape)
    asked = ("monitor", bundle, "--labels", labels, "--window", 6, "--signals", folder, "--out", tmp_path / "live.json")
    table(drawn, "Mom12m", folder / "mom.csv")
    code, out, _ = entente(*asked)
    assert code == 0
    assert "Advice: keep." in out
    assert "mom.csv: 1 signals, 110 of the factor's 110 instruments" in out
    caught_up = np.where(np.arange(T)[:, None] < T - 6, drawn, SCORES + 0.3 * drawn)
    table(caught_up, "Mom12m", folder / "mom.csv")
    code, out, _ = entente(*asked)
    assert code == 0
    assert "Advice: watch." in out
    record = json.loads((tmp_path / "live.json").read_text())
    assert record["advice"] == "watch"
    assert "others trade what it has become" in record["reasons"][-1]
    assert len(record["series"]["crowding"]["x"]) == T
    assert not {"rank_ic_left", "spanning"} & set(record["left_out"])
    (folder / "mom.csv").unlink()
    code, _, complaint = entente(*asked)
    assert code == 2
    assert "holds no .csv or .parquet file" in complaint


def test_validate_at_home_with_prices(entente, bundle, tmp_path) -> None:
    labels = table(LABELS, "label", tmp_path / "labels.csv")
    prices = 50 * np.cumprod(1 + np.vstack([np.zeros((1, N)), 0.02 * LABELS[:-1]]), axis=0)
    market = table(prices, "price", tmp_path / "market.parquet")
    code, out, _ = entente("validate", bundle, "--labels", labels, "--market", market, "--out", tmp_path / "home")
    assert code == 0
    assert "left out: capacity (no dollar_volume, volatility given)" in out
    page = (tmp_path / "home" / "report.html").read_text()
    assert "Drawdown after costs" in page
    found = Findings.read(json.loads((tmp_path / "home" / "validation.json").read_text()))
    assert found.value("long_short", "gross_return") > 0


def test_known_signals_at_home(entente, bundle, tmp_path) -> None:
    labels, folder = table(LABELS, "label", tmp_path / "labels.csv"), tmp_path / "signals"
    folder.mkdir()
    noise = np.random.default_rng(7).normal(size=SCORES.shape)
    table(SCORES + 0.05 * noise, "Mom12m", folder / "mom.parquet")
    table(OWN - SCORES, "Accruals", folder / "accruals.csv")
    out, page = tmp_path / "known.json", tmp_path / "known.html"
    code, said, _ = entente(
        "known", bundle, "--signals", folder, "--labels", labels, "--out", out, "--report", page, "--window", 8
    )
    assert code == 0
    assert "accruals.csv: 1 signals, 110 of the factor's 110 instruments" in said
    found = Findings.read(json.loads(out.read_text()))
    assert found.value("library", "correlation_Mom12m") > 0.9
    assert abs(found.value("library", "rank_ic_left")) < 0.3 * found.value("library", "rank_ic_here")
    text = page.read_text()
    assert "Share that known signals explain, by period" in text
    assert re.search(r"Known signals explain \d\d\.\d % of the score", text)
    code, _, complaint = entente("known", bundle, "--signals", tmp_path / "nowhere")
    assert code == 2
    assert "no such folder" in complaint


BAD = {
    "no file": ("missing.csv", None, "no such file", 2),
    "no key": ("x.csv", "date,instrument,label\n", "no column 'datetime'", 3),
    "no date": ("x.csv", "datetime,instrument,label\nsoon,A,1\n", "row 1: column datetime: 'soon' is no date", 3),
    "no number": (
        "x.csv",
        "datetime,instrument,label\n2024-01-05,NA,high\n",
        "row 1 (2024-01-05, NA): column label: 'high' is no number",
        3,
    ),
    "elsewhere": ("x.csv", "datetime,instrument,label\n1999-01-05,NA,1\n", "no row is of a date and instrument", 3),
    "twice": ("x.csv", "datetime,instrument,label\n2024-01-05,NA,1\n2024-01-05,NA,2\n", "NA has two rows", 3),
    "column": (
        "x.csv",
        "datetime,instrument,a,b\n2024-01-05,NA,1,2\n",
        "no column 'label' (it has datetime, instrument, a, b)",
        3,
    ),
    "not parquet": ("x.parquet", "nonsense", "cannot be read as Parquet", 3),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_table_is_one_clear_sentence(entente, bundle, tmp_path, case) -> None:
    name, text, said, code = BAD[case]
    if text is not None:
        (tmp_path / name).write_text(text)
    own = table(OWN, "score", tmp_path / "own.csv")
    got, _, err = entente("uplift", bundle, "--own", own, "--labels", tmp_path / name)
    assert got == code, err
    assert said in err
    assert len(err.splitlines()) == 1


def test_messy_tickers_come_back_from_csv(bundle, tmp_path) -> None:
    folder = open_folder(bundle)
    values = read_values(table(OWN, "score", tmp_path / "own.csv"), "score")
    order = np.argsort(instruments(N))
    np.testing.assert_allclose(folder.grid(values.series(folder.instruments)), OWN[:, order])
    match = values.match(folder.dates, folder.instruments, 1.0, folder.name)
    np.testing.assert_allclose(values.grid(match), OWN[:, order])


def zoned(values: np.ndarray, zone: str, path: Path) -> Path:
    index = pd.MultiIndex.from_product([DATES.tz_localize(zone), instruments(N)], names=["datetime", "instrument"])
    pd.DataFrame({"label": values.reshape(-1)}, index=index).to_csv(path)
    return path


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Asia/Kolkata"])
def test_labels_at_local_midnight_stay_on_their_day(entente, bundle, tmp_path, zone) -> None:
    own = table(OWN, "score", tmp_path / "own.csv")
    plain = entente("uplift", bundle, "--own", own, "--labels", table(LABELS, "label", tmp_path / "labels.csv"))
    code, out, _ = entente("uplift", bundle, "--own", own, "--labels", zoned(LABELS, zone, tmp_path / "labels.csv"))
    assert code == plain[0] == 0
    numbers = [line for line in plain[1].splitlines() if not line.startswith("read ")]
    assert [line for line in out.splitlines() if not line.startswith("read ")] == numbers
    assert "midnight with a zone" in out


def test_at_the_end_stands_what_was_read(entente, bundle, tmp_path) -> None:
    labels = LABELS.copy()
    labels[3, 4] = np.nan
    path = table(labels, "label", tmp_path / "labels.csv")
    path.write_text(path.read_text() + f"{DATES[3]:%Y-%m-%d},{instruments(N)[4]},#N/A\n")
    code, out, _ = entente("uplift", bundle, "--own", table(OWN, "score", tmp_path / "own.csv"), "--labels", path)
    assert code == 0
    assert out.splitlines()[-1] == (
        f"read {path}: {T * N:,} rows, {N} instruments, {DATES[0]:%Y-%m-%d} to {DATES[-1]:%Y-%m-%d}; {N} of the "
        f"factor's {N} instruments, {T} of its {T} dates; label is missing in 1 (written #N/A)"
    )


def test_a_table_of_few_of_the_instruments_is_refused(entente, bundle, tmp_path) -> None:
    few = OWN.copy()
    few[:, 40:] = np.nan
    own = table(few, "score", tmp_path / "own.csv")
    code, _, err = entente("uplift", bundle, "--own", own)
    assert code == 3
    assert f"has 40 of the factor's {N} instruments, less than 50%" in err
    remedy = err.partition("accept fewer with ")[2].split()
    code, out, _ = entente("uplift", bundle, "--own", own, *remedy)
    assert code == 0
    assert f"40 of the factor's {N} instruments" in out


def test_dates_beside_the_sessions_are_refused(entente, bundle, tmp_path) -> None:
    frame = pd.read_csv(table(LABELS, "label", tmp_path / "l.csv"), dtype=str, keep_default_na=False)
    off = pd.to_datetime(frame["datetime"]) + pd.to_timedelta(
        (frame["datetime"] > f"{DATES[4]:%Y-%m-%d}").astype(int), unit="D"
    )
    frame.assign(datetime=off).to_csv(tmp_path / "off.csv", index=False, date_format="%Y-%m-%d")
    own = table(OWN, "score", tmp_path / "own.csv")
    code, _, err = entente("uplift", bundle, "--own", own, "--labels", tmp_path / "off.csv")
    assert code == 3
    assert f"has 5 of the factor's {T} dates between" in err


MARKET = {
    "inf": ("price", np.inf, "column price: inf is not finite; leave it empty"),
    "zero price": ("price", 0.0, "column price: 0 must be above 0"),
    "cap below zero": ("cap", -5.0, "column cap: -5 must be above 0"),
    "volume below zero": ("dollar_volume", -1.0, "column dollar_volume: -1 must not be below 0"),
    "volatility below zero": ("volatility", -0.1, "column volatility: -0.1 must not be below 0"),
    "infinite style": ("style_value", -np.inf, "column style_value: -inf is not finite"),
    "infinite library": ("library_mom", np.inf, "column library_mom: inf is not finite"),
    "infinite beta": ("beta", np.inf, "column beta: inf is not finite"),
}


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("case", MARKET)
def test_one_bad_row_of_a_market_file_spoils_no_report(entente, bundle, tmp_path, case, form) -> None:
    column, value, said = MARKET[case]
    values = np.full((T, N), 10.0)
    values[11, 3] = value
    market = table(values, column, tmp_path / f"market.{form}")
    labels = table(LABELS, "label", tmp_path / "labels.csv")
    code, _, err = entente("validate", bundle, "--labels", labels, "--market", market, "--out", tmp_path / "out")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert f"row {11 * N + 4} (" in err
    assert f"{DATES[11]:%Y-%m-%d}" in err
    assert instruments(N)[3] in err
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_market_file_that_fits_nothing_is_refused(entente, bundle, tmp_path) -> None:
    (tmp_path / "m.csv").write_text("datetime,instrument,price\n2001-01-05,ZZZ,3\n")
    (tmp_path / "n.csv").write_text("datetime,instrument,close\n2001-01-05,ZZZ,3\n")
    labels = table(LABELS, "label", tmp_path / "labels.csv")
    for name, said in (("m.csv", "no row is of a date and instrument"), ("n.csv", "rename it to price")):
        call = ("validate", bundle, "--labels", labels, "--market", tmp_path / name, "--out", tmp_path / "out")
        code, _, err = entente(*call)
        assert code == 3
        assert said in err
