"""The report: one file, nothing from elsewhere, every text escaped, charts that parse, the same bytes again."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from html import escape
from html.parser import HTMLParser
from xml.etree import ElementTree as ET  # our own output

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.places import ROOT
from tests.vfl.bundles import made_up, signer
from tests.vfl.lab import made_up_lab
from ui.battery_words import quantity
from vfl.factors.charts import area_chart, band_chart, bar_chart, line_chart, measured_text, number_text
from vfl.factors.export import export_bundle, reissue_bundle
from vfl.factors.findings import Findings, Number, Series, Warn
from vfl.factors.ic_by_year import by_year, fall_of_the_sum
from vfl.factors.report import chart_of, render_report
from vfl.factors.section_verdicts import section_verdict
from vfl.factors.trials import Trial, read_trials
from vfl.factors.validation import battery
from vfl.factors.verify import verify_bundle

LAB = made_up_lab(periods=30)
FOUND = battery(LAB.subject, LAB.market)
PAGE = render_report("demo-joint 1", {"label": "next month"}, FOUND).decode()
NASTY = "</title><script>alert(1)</script>&\"'<svg onload=x>"


class Tags(HTMLParser):
    """Every tag with its attributes, and that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_stands_alone():
    found = tags(PAGE)
    names = {tag for tag, _ in found.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "use", "image", "style "}
    assert not [a for _, attrs in found.seen for a in attrs if a in {"src", "href", "xlink:href"} or a.startswith("on")]
    outside = re.sub(r'xmlns="http://www.w3.org/2000/svg"', "", PAGE)
    assert not re.search(r"https?:|url\(|@import", outside)
    assert "default-src 'none'" in PAGE


def test_every_chart_the_issue_asks_for_is_there():
    titles = re.findall(r"<h3>(.*?)</h3>", PAGE)
    assert titles == [
        "Cumulative rank IC", "Rank IC by period", "Fall of the cumulative rank IC from its peak",
        "Cumulative rank IC over the own factor",
        "Rank IC by delay of the label, in periods", "Mean label by quantile of the score", "Turnover",
        "Rank autocorrelation", "Coverage by period", "Long-short return after costs", "Drawdown after costs",
        "Net return per year by capital", "Rank IC after neutralising", "Correlation with known factors",
    ]  # fmt: skip
    assert PAGE.count("<svg ") == len(titles)
    for number in FOUND.numbers["ic"].values():
        assert measured_text(number.value, number.unit) in PAGE


def test_the_report_writes_numbers_as_the_page_does():
    """They had four digits here and three there, and a deflated Sharpe ratio of 1."""
    pages = [(value, unit) for unit in ("correlation", "t statistic", "probability", "share of periods", "count")
             for value in (-0.5, 0.0, 2.1e-30, 0.03456, 0.84, 1.0)]  # fmt: skip
    for value, unit in pages:
        if unit != "count":
            assert escape(measured_text(value, unit)) == escape(quantity(value, unit)), (value, unit)
    assert (measured_text(1.0, "probability"), measured_text(2.1e-30, "probability")) == ("> 0.999", "< 0.001")
    assert "deflated Sharpe" in PAGE
    assert "2.1e-30" not in PAGE


def test_years_and_falls_follow_from_the_rank_ics():
    series = Series(("2024-51", "2024-52", "2025-01", "2025-02"), (0.2, math.nan, -0.3, 0.1), "d", "correlation")
    first, second = by_year(series)
    assert (first.year, first.mean, first.positive, first.n) == ("2024", 0.2, 1.0, 1)
    assert (second.n, second.positive) == (2, 0.5)
    assert by_year(Series(("q1",), (0.1,), "d", "u")) == ()
    assert fall_of_the_sum(series).y == pytest.approx((0.0, 0.0, -0.3, -0.2))


def test_sections_without_charts_say_what_they_come_to():
    told = re.findall(r'<p class="verdict">(.*?)</p>', PAGE)
    assert any(line.startswith("Joining changed the rank IC by ") for line in told)
    assert any("the deflated Sharpe ratio is" in line for line in told)
    numbers = {"phi_sat": Number(0.02, "d", "rank IC", 9), "phi_sat_t": Number(3.0, "d", "t statistic", 9)}
    assert section_verdict("contribution", numbers) == "The largest contribution is +0.020, of sat; beyond chance: sat."
    assert section_verdict("decay", {}) == section_verdict("search", {}) == ""
    worse = {
        "rank_ic_difference": Number(-0.05, "d", "correlation", 9),
        "rank_ic_difference_t": Number(-7.0, "d", "t statistic", 9),
    }
    said = "Joining changed the rank IC by -0.050, with a t of -7.0: more than chance explains."
    assert section_verdict("uplift", worse) == said


def test_whatever_is_drawn_in_ink_is_light_on_a_dark_ground():
    dark = PAGE[PAGE.index("prefers-color-scheme:dark") : PAGE.index("@media print")]
    for tag, marks in tags(PAGE).seen:
        for ink in {marks.get("fill"), marks.get("stroke")} & {"#374151", "#6b7280", "#e5e7eb", "#fff"}:
            assert f"svg .{marks.get('class')}{{" in dark, f"{tag} in {ink} stays as it is on paper"
    assert 'class="reach"' in PAGE


def test_texts_are_escaped_wherever_they_come_from():
    number = Number(1.0, NASTY, NASTY, 1)
    nasty = Findings(
        {"ic": {"rank_ic": number, "rank_ic_t": number}, NASTY: {NASTY: number}},
        {"cumulative_rank_ic": Series((NASTY, "b"), (1.0, 2.0), NASTY, NASTY)},
        {NASTY: NASTY},
        (Warn(NASTY, NASTY),),
    )
    page = render_report(NASTY, {NASTY: NASTY}, nasty).decode()
    found = tags(page)
    assert "script" not in {tag for tag, _ in found.seen}
    assert not [a for _, attrs in found.seen for a in attrs if a.startswith("on")]


def test_warnings_and_what_was_left_out_are_told():
    alone = battery(dataclasses.replace(LAB.subject, scores=np.random.default_rng(1).normal(size=(30, 120)), own=None))
    page = render_report("noise", {}, alone).decode()
    assert "<b>noise</b>: a mean rank IC of" in page
    assert "<td>long short</td><td>no prices were given</td>" in page
    assert "Drawdown after costs" not in page
    assert "No check raised a warning" in PAGE
    assert "No information coefficient could be computed." in render_report("empty", {}, Findings()).decode()


def test_the_same_findings_give_the_same_bytes():
    again = battery(LAB.subject, LAB.market)
    assert render_report("demo-joint 1", {"label": "next month"}, again).decode() == PAGE
    read = Findings.read(json.loads(json.dumps(FOUND.record())))
    assert render_report("demo-joint 1", {"label": "next month"}, read).decode() == PAGE


values = st.lists(st.floats(-1e150, 1e150) | st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(values, st.booleans())
def test_any_series_makes_a_chart_that_parses_and_stays_inside(column, banded):
    low = tuple(column) if banded else ()
    series = Series(tuple(f"p<{i}>" for i in range(len(column))), tuple(column), "d", "u&", low, low)
    for svg in (
        line_chart("t", series), bar_chart("t", series), area_chart("t", series), band_chart("t", series, column[0]),
    ):  # fmt: skip
        root = ET.fromstring(svg)
        assert "nan" not in svg.replace("n/a", "")
        wide, high = (float(v) for v in root.attrib["viewBox"].split()[2:])
        for mark in root.iter():
            for name, limit in (("x", wide), ("cx", wide), ("y", high), ("cy", high), ("x1", wide), ("y1", high)):
                if name in mark.attrib:
                    assert -1 <= float(mark.attrib[name]) <= limit + 1


def test_gaps_stay_gaps():
    series = Series(tuple("abcde"), (1.0, 2.0, math.nan, 3.0, 4.0), "d", "u")
    assert line_chart("t", series).count("<polyline") == 2
    assert chart_of(Findings(series={"turnover": Series(("a",), (math.nan,), "d", "u")}), "turnover") == ""
    assert chart_of(Findings(), "turnover") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.03456, "0.0346"), (-0.5, "-0.5000"), (1.2345, "1.23"), (123.45, "123.5"), (12345.6, "12,346"),
        (3.8e8, "380 million"), (1e-7, "1.0e-07"), (math.nan, "n/a"), (math.inf, "none"),
    ],
)  # fmt: skip
def test_numbers_read_well(value, text):
    assert number_text(value) == text


def record_of(files: dict[str, bytes]) -> dict[str, str]:
    record: dict[str, str] = json.loads(files["metadata.json"])
    return record


def test_a_bundle_with_the_battery_is_signed_whole_and_one_without_is_as_before():
    trial = Trial("ab" * 32, "split", {"hidden": 16}, 0, LAB.subject.periods, FOUND.series["rank_ic"].y, selected=True)
    files = export_bundle(made_up(findings=FOUND, trials=(trial,)), signer())
    assert verify_bundle(files).ok
    assert export_bundle(made_up(findings=FOUND, trials=(trial,)), signer()) == files
    record = json.loads(files["validation.json"])
    assert record["schema_version"] == 1
    assert Findings.read(record["battery"]).value("ic", "rank_ic") == FOUND.value("ic", "rank_ic")
    assert b"next week: return from one cutoff to the next" in files["report.html"]
    head = files["report.html"].partition(b"</dl>")[0].decode()
    assert "<dt>proposed</dt><dd>2024-06-03 20:11 UTC, as all parties signed it</dd>" in head
    assert "<dt>signed by</dt><dd>bank</dd>" in head
    assert record_of(files)["proposed_at"] == "2024-06-03T20:11:05Z"
    again = reissue_bundle(files, signer(), version="2", why="more is known", found=FOUND)
    assert record_of(again)["proposed_at"] == "2024-06-03T20:11:05Z"
    assert "2024-06-03 20:11 UTC, as all" in again["report.html"].decode()
    assert read_trials(files["trials.parquet"])[0].selected
    plain = export_bundle(made_up())
    assert set(files) - set(plain) == {"report.html", "trials.parquet", "signatures/bank.pub", "signatures/bank.sig"}
    assert "battery" not in json.load(io.BytesIO(plain["validation.json"]))


def test_the_guides_pictures_are_charts_that_we_draw():
    docs = ROOT / "docs"
    guide = (docs / "quant-guide.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[.+?\]\(img/(\w+)\.svg\)", guide)
    assert len(named) >= 4
    for key in named:
        assert chart_of(FOUND, key), f"{key} is no chart of the report"
        root = ET.fromstring((docs / "img" / f"{key}.svg").read_bytes())
        assert root.attrib["viewBox"] == ET.fromstring(chart_of(FOUND, key)).attrib["viewBox"]


def test_the_guide_explains_every_warning():
    guide = (ROOT / "docs" / "quant-guide.md").read_text(encoding="utf-8")
    sources = ROOT / "vfl" / "factors"
    names = {n for path in sources.glob("*.py") for n in re.findall(r'Warn\(\s*"([\w-]+)"', path.read_text())}
    assert {"noise", "weak", "overfit", "fingerprint", "persistent", "look-ahead"} <= names
    assert {n for n in names | {"watch", "retrain"} if f"`{n}`" not in guide} == set()
