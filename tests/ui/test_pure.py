"""Text, tables, charts and the bundle check: data in, something to show out."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from parties.client import ContributionView, OpeningsView, PhaseView, SeriesPoint
from parties.control.phases import PHASES
from tests.ui.sample import HOSTILE, T0, SampleClient, bundle, factor, settled_run, training_run
from ui import wording
from ui.battery_words import measure_title, title_of
from ui.bundle import check_archive
from ui.caution_words import caution_words
from ui.charts import runs as run_charts
from ui.charts import thinned_series
from ui.message_words import MESSAGES, message_words
from ui.tables import run as run_tables
from ui.views import run_head


@given(st.text(max_size=200))
def test_plain_shows_any_text_as_itself(raw: str) -> None:
    """CommonMark makes one paragraph of it, with nothing in it but text."""
    shown = wording.plain(raw)
    tokens = MarkdownIt("commonmark").parse(shown)
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "text_special"}
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    visible = "".join(child.content for token in tokens for child in token.children or ())
    assert visible.split() == "".join(c if c.isprintable() else " " for c in raw).split()


def test_plain_escapes_what_streamlit_adds_to_markdown_and_cuts_long_text() -> None:
    assert wording.plain(":red[x] $y$ <b>") == r"\:red\[x\] \$y\$ \<b\>"
    assert wording.plain("a\nb\tc") == "a b c"
    assert wording.plain(f" {wording.count(12345)} rows ") == "12\N{NARROW NO-BREAK SPACE}345 rows", "in one piece"
    assert wording.plain("x" * 500, longest=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("there is no run 9: list the runs", "There is no run 9: list the runs."),
        ("orbit is away: it is asked again", "orbit is away: it is asked again."),
        ("orbit's node is away", "orbit's node is away."),
        ("orbit says so.", "orbit says so."),
        ("openings.noise = 0 tells more", "openings.noise = 0 tells more."),
        ("up to 60000 of 2,308,800 bits (7%)", "Up to 60 000 of 2 308 800 bits (7\N{NO-BREAK SPACE}%)."),
        ("pot 10000.00 USD at 127.0.0.1:17600", "Pot 10 000.00 USD at 127.0.0.1:17600."),
        ("run 123456789012: of 2026-11-02", "Run 123456789012: of 2026-11-02."),
        ("products, up to 60,000: the sum of '12345'", "Products, up to 60 000: the sum of '12345'."),
        ("", ""),
    ],
)
def test_what_others_said_is_shown_as_a_sentence_of_the_page(said: str, shown: str) -> None:
    told = wording.as_sentence(said, ("orbit",)).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert told == shown


def test_a_caution_names_its_term_as_the_form_does_and_says_nothing_twice() -> None:
    told = "openings.contribution: contributions are not measured, so the pot is not shared out"
    assert caution_words(told) == "Contributions are not measured, so the pot is not shared out."
    assert caution_words("recipients: the coordinator receives the factor") == "The coordinator receives the factor."
    masked = "openings.contribution: masked contributions open each party's own scores"
    assert caution_words(masked) == "Masked contributions open each party's own scores."
    assert caution_words("orbit: its data is late") == "Orbit: its data is late.", "a name that is no term stays"
    assert caution_words("Only 3 periods are predicted.") == "Only 3 periods are predicted."


def test_measures_and_speeds_are_read_as_people_write_them() -> None:
    assert [measure_title(name) for name in ("auc", "log_loss", "r2")] == ["AUC", "Log loss", "R²"]
    assert [title_of(name) for name in ("n_trials", "deflated_sharpe")] == ["number of trials", "deflated Sharpe"]
    speeds = [run_head._speed(pace, "rounds") for pace in (0.4, 1.0, 1.44, 6.0, 6210.0)]
    assert speeds == [
        "2.5 s a round",
        "1 round/s",
        "1.4 rounds/s",
        "6 rounds/s",
        "6\N{NARROW NO-BREAK SPACE}210 rounds/s",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, wording.MISSING), (0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds: float | None, shown: str) -> None:
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(
    ("minor", "scale", "shown"),
    [(0, 2, "0.00 USD"), (5, 2, "0.05 USD"), (-5, 2, "-0.05 USD"), (123456789, 2, "1 234 567.89 USD"), (7, 0, "7 USD")],
)
def test_amount_is_exact(minor: int, scale: int, shown: str) -> None:
    assert wording.amount(minor, "USD", scale).replace("\N{NARROW NO-BREAK SPACE}", " ") == shown


def test_sizes_counts_and_correlations_carry_units_and_signs() -> None:
    assert [wording.data_size(s) for s in (999, 1500, 2.5e6, 7.2e9)] == ["999 B", "1.5 kB", "2.5 MB", "7.2 GB"]
    assert wording.correlation(0.1234) == "+0.123"
    assert (
        wording.correlation(None)
        == wording.t_value(None)
        == wording.percent(None)
        == wording.count(None)
        == wording.MISSING
    )
    assert wording.instant(T0) == "2026-11-02 09:30:00 UTC"


def test_every_phase_has_a_title_a_doing_and_an_explanation() -> None:
    assert tuple(wording.PHASE_TITLES) == PHASES
    assert [phase.name for phase in settled_run().phases] == [name for name in PHASES if name != "encode"]
    assert set(wording.PHASE_TITLES) == set(wording.PHASE_DOINGS)
    assert set(wording.PHASE_TITLES) <= set(wording.HELP)


def test_status_text_says_what_a_run_does() -> None:
    run = training_run()
    assert run_tables.status_text(run) == "training"
    paused = run.model_copy(update={"status": "paused", "waiting_for": ("a_b",)})
    assert run_tables.status_text(paused) == r"waiting for a\_b"
    assert run_tables.status_text(settled_run()) == "settled"


def test_tables_of_nothing_have_their_columns() -> None:
    for table in (
        run_tables.runs_table([]), run_tables.parties_table([]), run_tables.phases_table([]),
        run_tables.bytes_table([]),
        run_tables.contributions_table([], "USD", 2), run_tables.files_table([]), run_tables.signatures_table([]),
        run_tables.events_table([]),
    ):  # fmt: skip
        assert len(table) == 0
        assert len(table.columns) >= 3


def test_contributions_are_sorted_and_priced() -> None:
    run = settled_run()
    table = run_tables.contributions_table(run.contributions[::-1], run.unit, run.scale)
    assert list(table["Party"]) == ["orbit", "chatter", "till"]
    assert table["Reward at close"][0].endswith("375.00 USD")
    shown = [ContributionView(party="a", shapley=0.01, plain=0.02, attribution=0.0031), *run.contributions[:1]]
    beside = run_tables.contributions_table(shown, run.unit, run.scale).set_index("Party")
    assert beside.loc["a", "Plain value"] == "+0.020"
    assert beside.loc["a", "Attribution"] == "+0.0031"
    assert beside.loc["orbit", "Plain value"] == beside.loc["orbit", "Attribution"] == run_tables.MISSING


def values(chart: object, layer: int) -> list[dict[str, object]]:
    """The rows behind one layer of a chart."""
    made = json.loads(chart.to_json())  # type: ignore[attr-defined]
    data = made["layer"][layer].get("data") or made["data"]
    rows: list[dict[str, object]] = made["datasets"][data["name"]]
    return rows


def test_ic_charts_leave_gaps_out_and_add_up() -> None:
    series = [
        SeriesPoint(period="Q1", ic_joint=None, ic_own=0.5),
        SeriesPoint(period="Q2", ic_joint=0.2, ic_own=None),
        SeriesPoint(period="Q3", ic_joint=0.3, ic_own=0.1),
    ]
    lines = values(run_charts.ic_chart(series), 1)
    assert [(r["period"], r["model"], r["value"]) for r in lines] == [
        ("Q2", "joint factor", 0.2), ("Q3", "joint factor", 0.3),
        ("Q1", "label party alone", 0.5), ("Q3", "label party alone", 0.1),
    ]  # fmt: skip
    totals = {(r["period"], r["model"]): r["value"] for r in values(run_charts.cumulative_chart(series), 1)}
    assert totals["Q3", "joint factor"] == pytest.approx(0.5)
    assert totals["Q3", "label party alone"] == pytest.approx(0.6)


def test_shapley_chart_shows_the_interval_where_the_error_is_known() -> None:
    rows = values(
        run_charts.shapley_chart(
            [ContributionView(party="a", shapley=0.01), ContributionView(party="b", shapley=0.02, standard_error=0.01)]
        ),
        0,
    )
    assert [row["party"] for row in rows] == ["b", "a"]
    assert rows[0]["high"] == pytest.approx(0.0396)
    assert rows[1]["low"] == rows[1]["high"] == 0.01


def test_bytes_chart_adds_parties_up_and_knows_every_payload_class() -> None:
    from psi.flow import Payload

    run = settled_run()
    rows = values(run_charts.bytes_chart(run.bytes_by_message), 0)
    assert (rows[0]["message"], rows[0]["name"]) == ("encrypted products", "product.answer")
    total = sum(view.bytes for view in run.bytes_by_message)
    assert sum(float(str(row["megabytes"])) for row in rows) * 1e6 == pytest.approx(total)
    strange = run.bytes_by_message[0].model_copy(update={"payload": "something newer"})
    assert values(run_charts.bytes_chart([strange]), 0)[0]["payload"] == "something newer"
    many = [strange.model_copy(update={"message": f"kind {i}", "bytes": 1000 - i}) for i in range(12)]
    shown = values(run_charts.bytes_chart(many), 0)
    assert [row["message"] for row in shown] == [*(f"kind {i}" for i in range(6)), "6 others"]
    assert sum(row["megabytes"] for row in shown) == pytest.approx(sum(view.bytes for view in many) / 1e6)
    assert set(run_charts.PAYLOAD_COLOURS) == {str(kind) for kind in Payload}


def test_every_message_between_parties_has_words_of_its_own() -> None:
    from vfl.register import REGISTER

    own = {
        name for name, kind in REGISTER.items() if kind.cls.__module__.partition(".")[0] in ("psi", "vfl", "parties")
    }
    assert own <= set(MESSAGES), "give each words in ui/message_words.py"
    assert len(set(MESSAGES.values())) == len(MESSAGES), "two that read alike would be one bar"
    assert message_words("newer.kind") == "newer.kind"


def test_phase_chart_ends_a_running_phase_now() -> None:
    phases = [
        PhaseView(name="approve", status="done", started_at=T0, ended_at=T0 + timedelta(seconds=2)),
        PhaseView(name="align", status="running", started_at=T0 + timedelta(seconds=2)),
        PhaseView(name="train", status="waiting"),
    ]
    rows = values(run_charts.phase_chart(phases, T0 + timedelta(seconds=5)), 0)
    assert [(row["phase"], row["start"], row["stop"]) for row in rows] == [("Approve", 0.0, 2.0), ("Align", 2.0, 5.0)]


def test_charts_of_nothing_are_still_charts() -> None:
    for chart in (
        run_charts.ic_chart([]), run_charts.cumulative_chart([]), run_charts.loss_chart([]),
        run_charts.shapley_chart([]),
        run_charts.openings_chart([]), run_charts.bytes_chart([]), run_charts.phase_chart([], T0),
    ):  # fmt: skip
        assert json.loads(chart.to_json())["layer"]


def test_openings_chart_shows_use_against_the_limit() -> None:
    rows = values(run_charts.openings_chart([OpeningsView(party="orbit", limit=4, max_used=3)]), 0)
    assert rows == [{"party": "orbit", "used": 3, "limit": 4, "text": "3 of 4"}]


def test_a_sound_archive_passes() -> None:
    check = check_archive(bundle(), factor())
    assert check.sound
    assert check.files == 3


def test_a_changed_file_is_named() -> None:
    check = check_archive(bundle(spoil=True), factor())
    assert check.faults == ("metadata.json differs from SHA256SUMS", "metadata.json is not what the coordinator lists")


def test_another_bundle_than_the_one_told_of_is_noticed() -> None:
    check = check_archive(bundle(), factor().model_copy(update={"sha256": "00" * 32}))
    assert check.faults == ("SHA256SUMS is not the one the coordinator was sent",)


def test_missing_added_and_unreadable_files_are_named() -> None:
    def archive(files: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            for name, data in files.items():
                made.writestr(name, data)
        return out.getvalue()

    none = factor().model_copy(update={"files": (), "sha256": ""})
    sums = b"ab" * 32 + b"  gone.csv\n"
    assert check_archive(archive({"SHA256SUMS": sums, "extra.csv": b""}), none).faults == (
        "gone.csv is missing",
        "extra.csv is not in SHA256SUMS",
    )
    assert check_archive(archive({"a.csv": b""}), none).faults == ("the archive has no SHA256SUMS",)
    assert check_archive(b"PK not a zip", none).faults == ("the archive is damaged: download it again",)
    assert check_archive(bundle()[:-40], none).faults == ("the archive is damaged: download it again",)


def test_hostile_names_stay_text_in_tables() -> None:
    assert run_tables.events_table(SampleClient().events())["What happened"][0] == HOSTILE


@given(values=st.lists(st.none() | st.floats(-1, 1, allow_subnormal=False), max_size=300), most=st.integers(1, 50))
def test_a_shortened_series_keeps_its_sums_and_its_bounds(values: list[float | None], most: int) -> None:
    points = [SeriesPoint(period=f"p{i}", ic_joint=value) for i, value in enumerate(values)]
    known = [value for value in values if value is not None]
    means = thinned_series.bucketed(points, lambda p: p.ic_joint, most)
    sums = thinned_series.running_sum(points, lambda p: p.ic_joint, most)
    assert len(means) <= most
    assert len(sums) <= most or len(points) <= most
    if known:
        assert sums[-1][1] == pytest.approx(sum(known))
        assert all(min(known) - 1e-9 <= mean <= max(known) + 1e-9 for _, mean in means)
    if len(points) <= most:
        assert [value for _, value in means] == known
