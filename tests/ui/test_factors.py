"""Factors: cards, one factor's page in each of its states and for each role, and the numbers behind them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from parties.client import EntenteError, FactorDetail, FileView, NumberView, SectionView
from parties.errors import PeerError
from tests.ui import sample_factors
from tests.ui.pages_rig import numbers, said, show
from tests.ui.sample import HOSTILE, SampleClient, bundle
from tests.ui.sample import factor as listed_factor
from ui.battery_words import honesty_rows, numbers_table, quantity, side_by_side, title_of
from ui.charts.factors import factor_chart
from ui.factor_files import FORM_TITLES, file_name, mime_of, taken
from ui.paging import page_words
from ui.views.factor_page import TABS
from ui.wording import plain


def factors_page(client: object, opened: list[str], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import factors

    factors.go = lambda key, **query: opened.append(f"{key} {query.get('run', '')[:4]}".strip())
    factors.render(client, ViewerView(name=role, role=role))


def factor_page(client: object, opened: list[str], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import factor_page as page

    page.go = lambda key, **query: opened.append(f"{key} {query.get('run', '')[:4]}".strip())
    page.render(client, ViewerView(name=role, role=role))


def test_cards_show_the_factor_and_lead_to_it() -> None:
    client, opened = SampleClient(), []
    app = show(factors_page, client, opened)
    text = said(app)
    assert "Uplift **+0.055** · 96 periods" in text
    assert "1 to 3 of 3 factors" in text
    assert plain(HOSTILE, longest=40) in text
    assert HOSTILE not in text
    app.button(key=f"open factor {sample_factors.AWAY}").click().run()
    assert opened == ["factor e5e5"]


def test_factors_are_also_a_list_to_sort_and_to_compare() -> None:
    opened: list[str] = []
    app = show(factors_page, SampleClient(), opened)
    assert not app.dataframe
    app.get("button_group")[0].set_value("list").run()
    table = app.dataframe[0].value
    assert list(table["Rank IC"]) == [0.1104, 0.1104, 0.0805], "numbers, which sort as such"
    assert HOSTILE in list(table["Purpose"]), "a table shows text as it is"
    assert {b.label: b.disabled for b in app.button} == {"Compare": True}
    app.session_state["list of factors 0 3"] = {"selection": {"rows": [], "columns": [], "cells": [[1, "Made"]]}}
    app.run()
    assert opened == ["factor e5e5"]


def test_search_asks_the_coordinator_and_says_when_nothing_fits() -> None:
    app = show(factors_page, SampleClient(), [])
    app.text_input(key="factor words").set_value("daily").run()
    assert "\n1 factor\n" in said(app)
    app.text_input(key="factor words").set_value("*nothing* like it").run()
    assert "No factor fits" in said(app)
    assert "*nothing*" not in said(app)


def test_no_factor_says_how_one_comes() -> None:
    client = SampleClient()
    client.doors["factors/page"] = sample_factors.many(0)
    assert "No factor yet" in said(show(factors_page, client, []))
    assert "No factor yet" in said(show(factor_page, client, []))


def test_many_factors_come_in_pages() -> None:
    client = SampleClient()
    client.doors["factors/page"] = sample_factors.many(25)
    app = show(factors_page, client, [])
    assert "1 to 12 of 25 factors" in said(app)
    assert [b.label for b in app.button].count("Open") == 12


@pytest.mark.parametrize("page", [factors_page, factor_page])
def test_a_coordinator_that_is_away_is_explained(page: Any) -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address", "coordinator")
    app = show(page, client, [], run=sample_factors.MADE)
    assert "cannot be reached" in app.error[0].value
    assert "Try again" in [b.label for b in app.button]


def test_a_factor_verifies_and_shows_every_chart_of_the_battery() -> None:
    client = SampleClient()
    parts = {name: show(factor_page, client, [], run=sample_factors.MADE, section=name) for name in TABS}
    app = parts["Files"]
    assert app.success[0].value == "13 files are as signed by harbor, with the key in the agreement."
    assert numbers(app)["Uplift"] == "+0.055"
    charts = sum(len(part.get("vega_lite_chart")) for part in parts.values())
    assert charts == sum(len(s.charts) for s in sample_factors.detail().sections) == 13
    text = said(parts["What could fool you"])
    assert plain("Left out: needs the series of two trials or more, there is one") in text
    assert plain("Persistent features identify entities " + HOSTILE, longest=600) in text
    assert HOSTILE not in text
    before = client.asked.count("factors/check")
    app.run()
    assert client.asked.count("factors/check") == before, "once a visit"
    app.button(key=f"check {sample_factors.MADE} {'5d' * 32} button").click().run()
    assert client.asked.count("factors/check") == before + 1


def _files(app: AppTest) -> list[object]:
    """The buttons that hand over a factor's files; the evidence pack is another matter."""
    return [button for button in app.get("download_button") if "evidence" not in str(button.key)]


def test_a_damaged_factor_is_red_names_the_file_and_is_not_handed_over() -> None:
    client = SampleClient()
    client.doors["factors/check"] = lambda _: sample_factors.broken()
    app = show(factor_page, client, [], run=sample_factors.MADE)
    assert plain("factor.parquet") in app.error[0].value, "above the numbers, whatever tab is open"
    app = show(factor_page, client, [], run=sample_factors.MADE, section="Files")
    assert not app.success
    assert "handed over only when they verify" in said(app)
    assert not _files(app)


def test_a_factor_without_files_here_says_where_they_are() -> None:
    app = show(factor_page, SampleClient(), [], run=sample_factors.AWAY, section="Files")
    text = said(app)
    assert plain("The coordinator is not among the recipients") in text
    assert "There is no copy here to verify" in text
    assert "What could fool you" not in text
    assert plain(HOSTILE, longest=90) in text
    assert HOSTILE not in text


@pytest.mark.parametrize("role", ["admin", "operator", "auditor", "reader"])
def test_files_are_offered_where_the_coordinator_says_so(role: str) -> None:
    client = SampleClient()
    allowed = role != "reader"
    client.doors["factors/one"] = lambda _: sample_factors.detail(may_download=allowed)
    app = show(factor_page, client, [], role, run=sample_factors.MADE, section="Files")
    assert len(_files(app)) == (len(FORM_TITLES) if allowed else 0)


def test_a_run_that_does_not_exist_is_explained() -> None:
    app = show(factor_page, SampleClient(), [], run="<script>")
    assert "There is no run" in app.error[0].value
    assert app.title[0].value == "Factor"


def test_versions_lead_to_each_other() -> None:
    app = show(factor_page, SampleClient(), [], run=sample_factors.MADE, section="Live and versions")
    table = next(t.value for t in app.dataframe if "Version" in t.value.columns)
    assert list(table["Version"]) == ["a1" * 6, "2024-q4"]
    assert list(table.iloc[:, 0]) == ["this page", ""]


def test_numbers_stand_beside_their_t_and_interval() -> None:
    section = next(s for s in sample_factors.detail().sections if s.key == "ic")
    table = numbers_table(section).set_index("Number")
    assert not [name for name in table.index if name.endswith((" t", " low", " high"))]
    assert set(table.loc["rank IC", ["t", "95 % interval"]]) > {""} or table.loc["rank IC", "t"]
    assert " to " in table.loc["rank IC", "95 % interval"]
    assert all(table["Definition"])


def test_what_could_fool_one_is_judged_or_says_why_not() -> None:
    rows = {row.title: row for row in honesty_rows(sample_factors.detail())}
    assert rows["Trials counted"].value == "3"
    assert rows["Probability of backtest overfitting"].good is None
    assert rows["Probability of backtest overfitting"].says.startswith("left out: ")
    assert rows["Rank IC beside remembered labels"].good is False  # the sample warns of a fingerprint
    clean = honesty_rows(sample_factors.detail(warnings=()))
    assert next(row for row in clean if row.title.startswith("Rank IC beside")).good is True
    bare = honesty_rows(FactorDetail(card=sample_factors.card()))
    assert {row.says for row in bare} == {"left out: not in this bundle"}


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["correlation", "t statistic", "count", "x"]))
def test_a_value_is_never_shown_as_another_one(value: float, unit: str) -> None:
    shown = quantity(value, unit).replace("\N{NARROW NO-BREAK SPACE}", "")
    step = {"correlation": 5.1e-4, "t statistic": 0.051}.get(unit, 0.0)
    rounding = 0.51 if abs(value) >= 1000 else abs(value) * (0.0051 if abs(value) >= 1e-4 else 0.06)
    assert abs(float(shown) - value) <= max(step, rounding, 5.1e-5 if abs(value) >= 1e-4 else 0.0)


def test_units_and_names_read_as_words() -> None:
    assert quantity(None, "correlation") == "\N{EN DASH}"
    assert quantity(1.0, "yes (1) or no (0)") == "yes"
    assert quantity(0.123, "share of periods") == "12.3 %"
    assert [quantity(p, "probability") for p in (2.1e-30, 0.031, 1.0)] == ["< 0.001", "0.0310", "> 0.999"]
    assert title_of("rank_ic_ir") == "rank IC IR"
    assert page_words(57, 12, 12, "factors") == "13 to 24 of 57 factors"
    assert page_words(0, 0, 12, "factors") == "No factors"


def test_small_sections_share_a_row() -> None:
    sections = sample_factors.detail().sections
    rows = side_by_side(sections)
    assert [s for row in rows for s in row] == list(sections)
    assert all(len(row) <= 2 for row in rows)
    assert any(len(row) == 2 for row in rows)


def test_every_chart_compiles_and_gaps_stay_gaps() -> None:
    for section in sample_factors.detail().sections:
        for chart in section.charts:
            mean = NumberView(name="rank_ic", value=0.1, definition="mean", unit="correlation", n=9)
            spec = factor_chart(chart, mean if chart.kind == "band" else None).to_dict()
            assert len(spec["layer"]) >= 2
            holed = chart.model_copy(
                update={"series": chart.series.model_copy(update={"y": (None, *chart.series.y[1:])})}
            )
            assert factor_chart(holed).to_dict()


def test_a_file_is_named_safely_and_arrives_whole() -> None:
    detail = sample_factors.detail(card=sample_factors.card(factor_id="../<x>/../.."))
    assert {file_name(detail, form) for form in FORM_TITLES} == {
        "x-a1a1a1a1a1a1.zip", "x-a1a1a1a1a1a1-report.html", "x-a1a1a1a1a1a1.csv", "x-a1a1a1a1a1a1-alphalens.csv",
        "x-a1a1a1a1a1a1-qlib.parquet", "signals_20250627.csv", "x-a1a1a1a1a1a1-zipline.parquet",
    }  # fmt: skip
    assert mime_of("zip") == "application/zip"
    assert mime_of("numerai") == "text/csv"
    client = SampleClient()
    assert taken(client, detail, "csv") == b"csv of a1a1"
    listed = listed_factor()
    whole = sample_factors.detail(card=sample_factors.card(sha256=listed.sha256), files=listed.files)
    client.doors["factors/file"] = lambda _: bundle()
    with zipfile.ZipFile(io.BytesIO(taken(client, whole, "zip"))) as archive:
        assert len(archive.namelist()) == 4
    client.doors["factors/file"] = lambda _: bundle(spoil=True)
    with pytest.raises(EntenteError, match=r"did not arrive as it was sent \(metadata.json differs"):
        taken(client, whole, "zip")


def test_a_section_without_numbers_or_charts_is_still_drawn() -> None:
    client = SampleClient()
    bare = sample_factors.detail(
        sections=(SectionView(key="<b>", title=HOSTILE),), files=(FileView(path="a", bytes=1),)
    )
    client.doors["factors/one"] = lambda _: bare
    app = show(factor_page, client, [], run=sample_factors.MADE)
    assert plain(HOSTILE) in said(app)
