"""Runs side by side on a page: numbers, the difference with its t, lines in one chart, terms that differ."""

from __future__ import annotations

from parties.errors import AgreementError
from tests.ui.pages_rig import said, show, text_tables
from tests.ui.sample import HOSTILE, RUNNING, SETTLED, SampleClient, settled_run
from ui.charts.compared import compared_chart


def compare_page(client: object, opened: list[object]) -> None:
    from tests.ui.sample import VIEWER
    from ui.views import compare

    compare.go = lambda key, **query: opened.append((key, query))
    compare.render(client, VIEWER)


def runs_page(client: object, opened: list[object]) -> None:
    from tests.ui.sample import VIEWER
    from ui.views import runs

    runs.go = lambda key, **query: opened.append((key, query))
    runs.render(client, VIEWER)


def test_runs_stand_side_by_side() -> None:
    opened: list[object] = []
    app = show(compare_page, SampleClient(), opened, runs=f"{SETTLED},{RUNNING}")
    numbers, differences, terms = text_tables(app)
    assert list(numbers.columns) == ["Number", "weekly-large-caps", HOSTILE[:40]]
    assert list(numbers[numbers["Number"] == "Rank IC, joint"].iloc[0])[1:] == ["+0.110", "\N{EN DASH}"]
    assert list(differences.iloc[0][["Rank IC less the first's", "t", "95 % interval"]]) == [
        "+0.013", "2.1", "+0.001 to +0.025",
    ]  # fmt: skip
    assert list(terms.iloc[0]) == ["Purpose", "Weekly factor, large caps", HOSTILE]
    assert len(app.get("vega_lite_chart")) == 2
    assert HOSTILE not in said(app)
    app.button(key=f"open {RUNNING}").click().run()
    assert opened == [("run", {"run": RUNNING})]


def test_fewer_than_two_and_foreign_runs_are_explained() -> None:
    client = SampleClient()
    assert "Choose two runs or more" in said(show(compare_page, client, [], runs=SETTLED))

    def refuse(_: object) -> None:
        raise AgreementError("orbit takes no part in run b2b2b2b2b2b2")

    client.doors["runs/compare"] = refuse
    app = show(compare_page, client, [], runs=f"{SETTLED},{RUNNING}")
    assert "takes no part" in app.error[0].value


def test_the_list_of_runs_leads_to_a_comparison() -> None:
    opened: list[object] = []
    app = show(runs_page, SampleClient(), opened)
    assert app.button(key="compare chosen").disabled
    listed = list(app.dataframe[0].value["Run"])
    app.session_state["list of runs"] = {"selection": {"rows": [0, 2], "columns": [], "cells": []}}
    app.run()
    app.button(key="compare chosen").click().run()
    [(page, query)] = opened
    assert page == "compare"
    assert [run_id[:12] for run_id in query["runs"].split(",")] == [listed[0], listed[2]]


def test_lines_of_other_calendars_share_one_axis() -> None:
    series = settled_run().series
    spec = compared_chart((("a", series[:60]), ("b.c", series[40:])), True).to_dict()
    assert spec["layer"][1]["encoding"]["color"]["scale"]["domain"] == ["a", "b.c"]
    rows = next(rows for rows in spec["datasets"].values() if "line" in rows[0])
    known = sorted({point.period for point in series if point.ic_joint is not None})
    assert {(row["i"], row["period"]) for row in rows} == set(enumerate(known))
