"""Columns made of texts at home: what they count, that nothing later enters, and that no text does harm."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from parties.data.check import coverage_report
from parties.data.entities import party_entities
from parties.data.plain_text import decoded, plain_text, words_of
from parties.data.text_columns import text_figures, text_observations
from parties.data.text_query import TextRows, read_texts
from parties.data.text_scorer import open_scorer
from parties.errors import ConfigError, DataError
from parties.settings.consortium import PartySettings
from parties.settings.text import TextSettings
from tests.parties.data.texts_rig import SQL, Post, calendar, home_with, panel_of, party, pinned

POSTS: list[Post] = [
    ("AA", "2024-02-27 09:00", "Great quarter, revenue beat and guidance raised"),
    ("AA", "2024-02-28 09:00", "Great quarter, revenue beat and guidance raised"),
    ("AA", "2024-03-06 21:00", "A terrible lawsuit and a disaster"),
    ("BB", "2024-03-01 23:59", "Not happy with the new stores"),
    ("BB", "2024-03-02 00:00", "calm"),
]
NAMES = ("AA", "BB", "CC")


def rows_of(posts: list[Post], known: list[datetime] | None = None) -> tuple[TextRows, NDArray[np.object_]]:
    entity = np.array([post[0] for post in posts], dtype=object)
    moments = np.array([post[1] for post in posts] if known is None else known, dtype="datetime64[ns]")
    return TextRows("posts.sql", entity, moments, [post[2] for post in posts], ()), entity


def observed(posts: list[Post], folder: Path, **terms: Any) -> dict[tuple[str, str], list[float]]:
    """(entity, day) to values."""
    rows, entity = rows_of(posts)
    made = text_observations(TextSettings.model_validate(pinned(folder, **terms)), rows, entity, folder, "social")
    days = made.period.astype("datetime64[D]")
    return {(made.entity[k], str(days[k])): made.values[k].tolist() for k in range(len(made))}


def test_they_count_and_tell_new_words_and_tone(tmp_path: Path) -> None:
    made = observed(POSTS, tmp_path)
    first, second = made["AA", "2024-02-27"], made["AA", "2024-02-28"]
    assert first[:3] == pytest.approx([math.log1p(1), math.log1p(1), 1.0])
    assert first[3] > 0.4
    assert math.isnan(first[4])
    assert second[0] == pytest.approx(math.log1p(2))
    assert second[2] == 0.5, "the second said nothing that the first had not"
    assert second[3] == first[3]
    assert second[4] == 0.0
    late = made["AA", "2024-03-06"]
    assert late[0] == pytest.approx(math.log1p(1)), "texts of a week ago have left the window"
    assert late[3] < -0.5
    assert late[1] == pytest.approx(math.log1p(1) - math.log1p(2 * 7 / 28)), "two in the four weeks before"
    gone = made["AA", "2024-03-13"]
    assert gone[0] == 0.0
    assert all(math.isnan(value) for value in gone[2:])


def test_a_text_counts_from_its_time_and_the_lag_on(tmp_path: Path) -> None:
    home = home_with(tmp_path, POSTS)
    columns = {"columns": ["count"], "window_days": 30}
    counts = panel_of(party(home, **columns), home, NAMES).values[:, :, 0]
    assert counts[0, 0] > counts[0, 1], "two texts of AA by 1 March, and of BB the one at 23:59"
    assert panel_of(party(home, **columns), home, NAMES).covered[0].tolist() == [True, True, False]
    lagged = panel_of(party(home, **columns, lag_days=1), home, NAMES)
    assert lagged.covered[0].tolist() == [True, False, False], "with a day's lag BB's came too late"
    assert (
        lagged.available_at[lagged.covered] <= np.broadcast_to(calendar().cutoffs[:, None], (8, 3))[lagged.covered]
    ).all()


@pytest.mark.parametrize(
    ("column", "known"),
    [
        ("TIMESTAMP '2024-03-01 23:30'", "2024-03-01T23:30:00"),
        ("TIMESTAMPTZ '2024-03-01 23:30+00'", "2024-03-01T23:30:00"),
        ("TIMESTAMPTZ '2024-03-01 23:30-05'", "2024-03-02T04:30:00"),
        ("DATE '2024-03-01'", "2024-03-01T23:59:59.999999"),
    ],
)
def test_zones_follow_the_rule_of_every_query(tmp_path: Path, column: str, known: str) -> None:
    (tmp_path / "posts.sql").write_text(f"SELECT 'AA' AS entity, {column} AS time, 'good' AS text")
    rows = read_texts(party(tmp_path), tmp_path, tmp_path)
    assert str(rows.known[0].astype("datetime64[us]")).startswith(known)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_later_text_changes_an_earlier_column(tmp_path: Path, data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(["good", "bad", "very", "not", "store", "\U0001f680", "deal"]), max_size=5)
    hours = st.integers(0, 24 * 60)
    drawn = data.draw(st.lists(st.tuples(st.sampled_from("AB"), hours, words), min_size=1, max_size=25))
    posts = [(who, str(np.datetime64("2024-01-01T00", "h") + h), " ".join(w)) for who, h, w in drawn]
    cut = data.draw(st.integers(0, 60))
    day = np.datetime64("2024-01-01") + cut
    earlier = [post for post in posts if np.datetime64(post[1], "D") <= day]
    everything, then = (
        observed(posts, tmp_path, window_days=3, memory_days=9),
        observed(earlier, tmp_path, window_days=3, memory_days=9),
    )

    def standing(made: dict[tuple[str, str], list[float]], who: str) -> list[float] | None:
        days = [when for name, when in made if name == who and np.datetime64(when) <= day]
        return made[who, max(days)] if days else None

    for who in "AB":
        np.testing.assert_equal(standing(everything, who), standing(then, who))
    shuffled = data.draw(st.permutations(posts))
    np.testing.assert_equal(observed(shuffled, tmp_path, window_days=3, memory_days=9), everything)


def test_texts_stand_beside_a_query_and_feed_an_expansion(tmp_path: Path) -> None:
    home = home_with(tmp_path, POSTS)
    rows = "('AA', DATE '2024-02-20', 1.0), ('CC', DATE '2024-02-20', 3.0)"
    (home / "q.sql").write_text(f"SELECT * FROM (VALUES {rows}) AS t(entity, period, x)")
    both = PartySettings.model_validate(
        {
            "name": "social",
            "role": "feature",
            "query": "q.sql",
            "columns": ["x"],
            "lag_days": 0,
            "whiten": False,
            "missing_indicators": ["text_sentiment"],
            "expand": {"hinges": True, "columns": ["text_sentiment"]},
            "text": pinned(home, columns=["count", "sentiment"]),
        }
    )
    assert both.output_columns == ("x", "text_count", "text_sentiment", "exp_0", "exp_1", "text_sentiment_missing")
    panel = panel_of(both, home, NAMES)
    assert panel.values.shape == (8, 3, 6)
    assert panel.covered[0].tolist() == [True, True, True]
    assert panel.missing is not None
    assert panel.missing[0, 2].tolist() == [False, True, True, True, True, False]
    assert str(panel.asof[1, 0]).startswith("2024-03-06"), "the later of what its two sources knew"
    assert party_entities(both, home, home) == ("AA", "BB", "CC")
    report = coverage_report(both, home, home, calendar())
    assert set(report.missing) == {"x", "text_count", "text_sentiment"}
    assert "posts.sql" in report.readings[1]
    alone = coverage_report(party(home), home, home, calendar())
    assert (alone.entities, alone.covered[0]) == (2, 2)
    assert alone.preview[0].column == "text_count"


MARKUP = "<html><style>p {}</style><p>Great&nbsp;<b>quarter</b> &amp; <i>more</i></p><script>bad()</script>"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MARKUP, ["great", "quarter", "&", "more"]),
        ("5 < 6 & we <3 it", ["5", "<", "6", "&", "we", "3", "it"]),
        ("see https://a.example/x?y=1 now", ["see", "now"]),
        ("Isn\u2019t  caf\u0065\u0301\u200b", ["isn't", "caf\u00e9"]),
        ("\u516c\u53f8 up", ["\u516c", "\u53f8", "up"]),
        ("\U0001f469\u200d\U0001f680\u2764\ufe0f", ["\U0001f469\U0001f680\u2764"]),
        ("", []),
        ("\0 \t", ["\0"]),
    ],
)
def test_markup_addresses_and_other_scripts_become_words(text: str, words: list[str]) -> None:
    assert words_of(plain_text(text, 10_000)) == words


@pytest.mark.parametrize(
    ("raw", "text", "older"),
    [
        ("na\u00efve \u20ac".encode(), "na\u00efve \u20ac", False),
        ("na\u00efve \u20ac".encode("cp1252"), "na\u00efve \u20ac", True),
        (b"\xff\xfeh\0i\0", "hi", False),
        (b"\xef\xbb\xbfhi", "hi", False),
        (b"\x81\xff", "\ufffd\u00ff", True),
        (b"", "", False),
    ],
)
def test_bytes_are_decoded_by_rule(raw: bytes, text: str, older: bool) -> None:
    assert decoded(raw, 100) == (text, older)


@given(st.binary(max_size=300), st.text(max_size=300))
def test_any_bytes_and_any_text_become_words(raw: bytes, text: str) -> None:
    assert isinstance(words_of(plain_text(decoded(raw, 100)[0], 100)), list)
    assert all(words_of(plain_text(text, 300)))


HOSTILE = ("<", "<div>", "<a", "<!--", "</", "<script>", "&#", "&amp;", "\ufdfa", "\u0301", ":) ", "a" * 50, "\u516c")


@pytest.mark.parametrize("piece", HOSTILE)
def test_ten_megabytes_of_anything_pass(tmp_path: Path, piece: str) -> None:
    text = piece * (10_000_000 // len(piece))
    rows, entity = rows_of([("AA", "2024-03-01", text), ("AA", "2024-03-01", "good")])
    terms = TextSettings(query="posts.sql")
    figures = text_figures(terms, rows, entity, open_scorer(terms, tmp_path))
    assert len(figures.day) in (1, 2)
    assert figures.new.max() <= 10_000


def test_bytes_in_mixed_encodings_are_read_and_counted(tmp_path: Path) -> None:
    rows = ", ".join(
        f"('AA', TIMESTAMP '2024-03-01', from_hex('{raw.hex()}'))" for raw in (b"caf\xe9", b"caf\xc3\xa9", b"")
    )
    (tmp_path / "posts.sql").write_text(f"SELECT * FROM (VALUES {rows}) AS t(entity, time, text)")
    read = read_texts(party(tmp_path), tmp_path, tmp_path)
    assert read.texts == ["caf\u00e9", "caf\u00e9", ""]
    assert read.rules[:2] == ("3 texts, 1 of them empty", "time has no time zone and counts as UTC")
    assert read.rules[-1] == "1 texts were bytes that are not UTF-8, and were read as Windows-1252"


@pytest.mark.parametrize(
    ("sql", "kind", "told"),
    [
        ("SELECT 'AA' AS entity, DATE '2024-01-01' AS time", DataError, "column 'text' is missing"),
        (SQL.replace("time,", "CAST(time AS VARCHAR) AS time,"), DataError, "column 'time' is VARCHAR, not a date"),
        (SQL.replace("text ", "5 AS text "), DataError, "column 'text' is INTEGER, not text; select CAST"),
        (SQL.replace("text ", "text, time - INTERVAL 2 DAY AS available_at "), DataError, "before it was written on"),
        (SQL.replace("time,", "CASE WHEN entity = 'AA' THEN time END AS time,"), DataError, "column 'time' is empty"),
    ],
)
def test_a_query_that_cannot_be_trusted_is_refused(tmp_path: Path, sql: str, kind: type[Exception], told: str) -> None:
    home = home_with(tmp_path, POSTS, sql)
    with pytest.raises(kind, match=told):
        read_texts(party(home), home, home)


def test_nothing_says_when_a_text_was_known(tmp_path: Path) -> None:
    home = home_with(tmp_path, POSTS)
    with pytest.raises(ConfigError, match=r"add a column available_at to the query or lag_days to \[party.text\]"):
        read_texts(party(home, lag_days=None), home, home)


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"scorer": "lexicon"}, "needs text.path"),
        ({"path": "words.csv"}, "drop it"),
        ({"scorer": "none"}, "need a scorer"),
        ({"columns": []}, "named, once each"),
    ],
)
def test_settings_that_cannot_be_are_refused(terms: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TextSettings.model_validate({"query": "posts.sql"} | terms)
