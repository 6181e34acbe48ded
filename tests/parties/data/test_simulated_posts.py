"""Simulated posts: the same for the same arguments, and columns made of them show the states that they follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.panel import build_feature_panel
from parties.data.simulate import simulate
from parties.data.simulated_posts import posts_table
from parties.data.text_columns import text_figures
from parties.data.text_query import TextRows
from parties.data.text_scorer import open_scorer
from parties.errors import ConfigError
from parties.settings.consortium import load_consortium
from parties.settings.text import TextSettings

COMPANIES, WEEKS = 150, 8


def test_how_many_how_cheerful_and_how_new_follow_the_states() -> None:
    rng = np.random.default_rng(3)
    fridays = np.datetime64("2024-01-05") + 7 * np.arange(WEEKS)
    week, company = (grid.ravel() for grid in np.meshgrid(np.arange(WEEKS), np.arange(COMPANIES), indexing="ij"))
    states = rng.standard_normal((3, COMPANIES))[:, company]
    names = pa.array([f"$C{k}" for k in company])
    table = posts_table(rng, names, week, states, fridays)
    entity = np.array(table["company"].to_pylist(), dtype=object)
    posted = table["posted"].to_numpy().astype("datetime64[ns]")
    assert posted.max() < np.datetime64(fridays[-1]) + np.timedelta64(20, "h")
    terms = TextSettings(query="posts.sql")
    rows = TextRows("posts.sql", entity, posted, table["body"].to_pylist(), ())
    figures = text_figures(terms, rows, entity, open_scorer(terms, Path()))
    measured = np.zeros((3, COMPANIES))
    for k in range(COMPANIES):
        mine = figures.entity == f"$C{k}"
        measured[:, k] = mine.sum(), figures.score[mine].mean(), figures.new[mine].mean()
    for state in range(3):
        assert spearmanr(measured[state], states[state, :COMPANIES]).statistic > 0.6


def test_the_social_fund_brings_posts_alone(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sim", entities=12, periods=8, text=True)
    again = simulate(tmp_path / "again", entities=12, periods=8, text=True)
    assert made.config.read_text() == again.config.read_text()
    assert (made.data / "posts.parquet").read_bytes() == (again.data / "posts.parquet").read_bytes()
    assert not (made.data / "social.parquet").exists()
    settings = load_consortium(made.config)
    social = next(party for party in settings.party if party.name == "social")
    assert (social.query, social.columns) == ("", ())
    assert settings.calendar is not None
    calendar = calendar_of(calendar_terms(settings.calendar))
    panel = build_feature_panel(social, made.config.parent, made.data, calendar, made.truth["common"])
    assert panel.covered.all(), "former and present tickers are one company"
    assert np.isfinite(panel.values).all()
    assert (panel.values.std(axis=1) > 0).mean() > 0.9


def test_posts_need_a_social_fund_and_a_sealed_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="posts need 2 feature parties"):
        simulate(tmp_path, entities=12, periods=8, parties=1, text=True)
