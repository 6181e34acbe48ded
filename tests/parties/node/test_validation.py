"""What a finished run says of itself: the battery with what the label party has, and its one trial."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from parties.node.validation import earlier_trials, validate_run
from tests.vfl.bundles import calendar
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.factors.trials import FILE, write_trials
from vfl.models.ridge.walk import RidgeHead
from vfl.models.split.training import score_coalition
from vfl.models.split.twin import alone, train_in_the_clear
from vfl.terms import RidgeModel, WalkForward

T, N = 30, 60
RNG = np.random.default_rng(0)


def features(values: np.ndarray) -> FeaturePanel:
    never = np.full((T, N), np.datetime64("NaT", "ns"))
    names = tuple(f"x{i}" for i in range(values.shape[2]))
    return FeaturePanel(names, values, np.ones((T, N), dtype=bool), never, never)


def run(own: np.ndarray, first: str = "", earlier=((), 0), theirs: np.ndarray | None = None, usual: float = 0.0):
    if theirs is None:
        theirs = RNG.normal(size=(T, N, 4))
    news = 0.3 * theirs.sum(axis=2) + own[:, :, 0] * 0.1
    label = (usual * RNG.normal(size=(1, N)) if usual else news) + RNG.normal(size=(T, N))
    known = np.repeat(np.arange(1, T + 1)[:, None], N, axis=1)
    panel = LabelPanel(features(own), label, known, np.ones((T, N), dtype=bool))
    model, walk = RidgeModel(alpha=10.0), WalkForward()
    result, _ = train_in_the_clear([features(theirs)], panel, model, walk, row_limit=4, reserved=0, weights=[])
    head = RidgeHead(own.shape[2])
    agreement = SimpleNamespace(
        evaluation=SimpleNamespace(first=first, last=""), walk_forward=walk, model=model,
        parties=[SimpleNamespace(name="bank", columns=("x0",))],
        label=SimpleNamespace(definition="next week", residual=()),
        dated=SimpleNamespace(frequency="W-FRI"),
    )  # fmt: skip
    found, trials = validate_run(
        agreement, "ab" * 32, calendar(T), panel, result, alone(None, panel, model, walk).scores,
        lambda sums: score_coalition(head, result, panel, sums), earlier,
    )  # fmt: skip
    return found, trials, result, panel


def test_a_run_validates_itself_and_says_what_it_could_not():
    found, trials, result, panel = run(RNG.normal(size=(T, N, 2)))
    ics = ic_by_period(result.scores, panel.label)
    assert found.value("ic", "rank_ic") == pytest.approx(np.nanmean(ics), rel=1e-12)
    assert len(trials) == 1
    assert trials[0].selected
    np.testing.assert_array_equal(trials[0].rank_ic, ics[np.isfinite(ics)])
    assert trials[0].terms["model"] == RidgeModel(alpha=10.0).model_dump(mode="json")
    assert {"long_short", "capacity", "neutral_sector", "library", "pbo", "look_ahead"} <= set(found.left_out)
    assert found.value("uplift", "rank_ic_difference") > 0.1
    assert "embedding" in found.numbers["placebo"]["stale"].definition
    assert found.value("placebo", "truth_less_permuted_t") > 3
    assert not found.warnings
    assert "look_ahead" not in found.numbers
    scored = np.isfinite(result.scores).any(axis=1)
    assert len(found.series["rank_ic"].x) == scored.sum()


def test_only_the_agreed_window_counts():
    first = calendar(T).periods[20]
    found, trials, _, _ = run(RNG.normal(size=(T, N, 2)), first)
    assert trials[0].periods[0] == first
    assert found.numbers["ic"]["rank_ic"].n == 10


def test_a_look_ahead_in_the_label_partys_own_features_is_told_by_name():
    own = RNG.normal(size=(T, N, 2))
    own[:, :, 0] *= 5  # what the label is then mostly made of
    found, *_ = run(own)
    assert found.warned("look-ahead")
    assert found.warnings[-1].text.startswith("x0 has a rank IC of")


def test_earlier_runs_of_the_factor_count_as_trials(tmp_path):
    _, (own,), _, _ = run(RNG.normal(size=(T, N, 2)))
    names = ("first", "second", "again", "now")
    for i, name in enumerate(names):
        (tmp_path / name).mkdir()
        other = replace(own, run_id=name, seed=own.seed if name == "again" else i + 1)
        (tmp_path / name / FILE).write_bytes(write_trials([other]))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / FILE).write_bytes(b"?")
    earlier, unreadable = earlier_trials(tmp_path, "now")
    assert [t.run_id for t in earlier] == ["first", "second", "again"]
    assert unreadable == 1
    assert not any(t.selected for t in earlier)
    found, trials, _, _ = run(RNG.normal(size=(T, N, 2)), earlier=(earlier, unreadable))
    assert [t.run_id for t in trials] == ["ab" * 32, "first", "second"], "what was run again is no new trial"
    assert trials[0].predecessor == "again"
    assert found.value("search", "n_trials") == 4
    assert write_trials(trials)
    assert earlier_trials(tmp_path / "nowhere", "now") == ((), 0)


def test_a_run_that_learned_who_the_entities_are_says_so():
    constants = np.repeat(RNG.normal(size=(1, N, 30)), T, axis=0)
    found, *_ = run(RNG.normal(size=(T, N, 1)), theirs=constants, usual=1.0)
    assert found.value("ic", "rank_ic") > 0.2
    assert found.warned("fingerprint")
