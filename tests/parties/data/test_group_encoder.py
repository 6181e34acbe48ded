"""A group's encoder at its members: nothing looks ahead, seeds repeat, together it is worth what pooled rows are."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.group_terms import GroupTerms
from parties.data.calendar import calendar_of, calendar_terms
from parties.data.entities import party_entities
from parties.data.group_encoder import EncoderLearner, encoder_learner, group_codes
from parties.data.panel import build_label_panel, raw_panel
from parties.data.preprocess import model_ready
from parties.data.sources import party_sources
from parties.errors import DataError
from parties.settings.consortium import load_consortium
from tests.places import ROOT
from vfl.factors.evaluate import ic_by_period
from vfl.factors.placebo import refit
from vfl.federated.rounds import Rounds
from vfl.federated.twin import in_plain

EXAMPLE = ROOT / "examples" / "group_encoder"
COLUMNS = ("balance", "spend", "arrears", "visits")
F64 = NDArray[np.float64]


def terms(**change: object) -> GroupTerms:
    group = load_consortium(EXAMPLE / "consortium.toml").group[0]
    return group.model_copy(update=change).agreed_for(len(group.members))


def learner(raw: F64, group: GroupTerms, seed: int = 5) -> EncoderLearner:
    return encoder_learner(raw, group.encoder, group, COLUMNS, seed, winsorise=0.0, who="north")


@pytest.mark.parametrize("personal_head", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_later_periods_move_neither_weights_nor_earlier_codes(kind: str, personal_head: bool) -> None:
    shape = terms().encoder.model_copy(update={"kind": kind})
    group = terms(encoder=shape, local_epochs=1, personal_head=personal_head)
    raw = np.random.default_rng(0).normal(size=(40, 6, 4))
    raw[:, 5] = np.nan
    changed = raw.copy()
    changed[33:] += np.random.default_rng(1).normal(size=changed[33:].shape)
    one, two = learner(raw, group), learner(changed, group)
    assert one.rows == 28 * 5, "of the first periods, and of entities that it has"
    trained = one.train(one.weights, 0)
    np.testing.assert_array_equal(trained, two.train(two.weights, 0))
    assert len(trained) == group.numbers(4)
    assert (trained != one.train(learner(raw, group, 6).weights, 0)).any()
    before, after = (group_codes(v, shape, COLUMNS, trained, winsorise=0.0) for v in (raw, changed))
    np.testing.assert_array_equal(before[:33], after[:33])
    assert np.isnan(before[:28]).all()
    assert np.isnan(before[:, 5]).all()
    assert np.isfinite(before[28:, :5]).all()
    assert (before[33:, :5] != after[33:, :5]).any()
    assert np.isnan(group_codes(raw, shape, COLUMNS, None, winsorise=0.0)).all()


def test_a_member_without_a_value_to_train_on_and_another_encoders_weights_are_refused() -> None:
    raw = np.full((40, 3, 4), np.nan)
    raw[30:] = 1.0
    with pytest.raises(DataError, match="north has no value in the first 28 periods"):
        learner(raw, terms())
    with pytest.raises(DataError, match="weights of another encoder"):
        group_codes(raw, terms().encoder, COLUMNS, np.zeros(3), winsorise=0.0)


def test_the_encoder_of_four_members_is_worth_what_the_pooled_one_is(tmp_path: Path) -> None:
    settings, group = load_consortium(EXAMPLE / "consortium.toml"), terms(rounds=4, batch_rows=112, learning_rate=0.04)
    assert settings.calendar is not None
    runpy.run_path(str(EXAMPLE / "panel.py"))["write"](tmp_path, 12, 60, 0)
    fund, calendar = settings.party[0], calendar_of(calendar_terms(settings.calendar))
    names = party_entities(fund, EXAMPLE, tmp_path, settings.label)
    label = build_label_panel(fund, settings.label, EXAMPLE, tmp_path, calendar, names)
    raws = {
        party.name: raw_panel(party, party_sources(party, EXAMPLE, tmp_path), calendar, names).values
        for party in settings.party[1:]
    }
    rounds = Rounds(group, group.members, "coordinator", "5a" * 32, group.numbers(4))
    seed = 162886137538890  # of the figures in docs/groups.md
    learners = {name: learner(raw, group, seed) for name, raw in raws.items()}
    initial = learners["north"].weights

    def alone(one: EncoderLearner) -> F64:
        weights = initial
        for number in range(group.rounds):
            weights = one.train(weights, number)
        return weights

    def worth(weights: Mapping[str, F64]) -> float:
        """Mean rank IC of a ridge on the members' codes side by side, zeros where one has none."""
        codes = [
            model_ready(
                group_codes(raw, group.encoder, COLUMNS, weights[name], winsorise=0.0), (), winsorise=0.01, whiten=False
            )
            for name, raw in raws.items()
        ]
        scores = refit(np.concatenate(codes, axis=2), label.label, label.known_from)
        return float(np.nanmean(ic_by_period(scores, label.label)[32:]))

    every = np.concatenate([raw[:, np.isfinite(raw).any(axis=(0, 2))] for raw in raws.values()], axis=1)
    together = worth(dict.fromkeys(raws, in_plain(rounds, learners, initial)))
    assert together > 0.95 * worth(dict.fromkeys(raws, alone(learner(every, group, seed))))
