"""Covariances of coalitions over periods: an honest label party, and a party whose columns hardly change.

A limit, said in what is signed: each period's covariance is one equation of the scores that one party's columns alone
would have, and where these stay the same over periods there are soon as many equations as entities.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from tests.vfl.models.sealed.rig import seed
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.twin import FloatTwin
from vfl.terms import SealedModel, WalkForward
from vfl.walk.cycles import cyclic

ENTITIES, PERIODS, EACH = 40, 90, 4


def read(*, still: bool) -> float:
    """Correlation of an entity's mean score of the coalition {a} with what is solved, beside what labels alone tell."""
    draw, shape = np.random.default_rng(0), (PERIODS, ENTITIES, EACH)
    a, b = draw.normal(size=shape), draw.normal(size=shape)
    a = np.repeat(a[:1], PERIODS, axis=0) if still else a
    y = 0.2 * a[..., 0] + 0.2 * a[..., 1] * b[..., 0] + 0.1 * b[..., 1] + draw.normal(size=shape[:2])
    y = (y - y.mean(axis=1, keepdims=True)) / y.std(axis=1, keepdims=True)
    terms, rows = SealedModel(anchor="b"), PERIODS * ENTITIES
    start = sealed_draw(seed("a"), 2 * EACH, terms, 2 * EACH) + sealed_draw(seed("b"), 2 * EACH, terms, 2 * EACH)
    whole = np.concatenate([a, b], axis=2).reshape(rows, -1)
    alone = whole * (np.arange(2 * EACH) < EACH)
    known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
    twin = FloatTwin(whole, np.ldexp(start.astype(np.float64), -30), terms)
    ranks, scores = [], []
    for step in cyclic(terms, WalkForward(), known, y, np.ones(y.shape, dtype=np.bool_)):
        if step.kind == "train":
            twin.train(step, y.reshape(-1)[step.rows])
            continue
        one = FloatTwin(alone, twin.weight, terms).predict(step)
        rank = rankdata(y[step.period])
        ranks.append((rank - rank.mean()) / rank.std())
        scores.append(one - one.mean())
    labels, hidden = np.array(ranks), np.array(scores)
    covariances = (labels * hidden).sum(axis=1)
    found = labels.T @ np.linalg.solve(labels @ labels.T + 10 * np.eye(len(labels)), covariances)
    told = np.column_stack([np.ones(ENTITIES), labels.mean(axis=0)])
    left = [x - told @ np.linalg.lstsq(told, x, rcond=None)[0] for x in (hidden.mean(axis=0), found)]
    return abs(float(np.corrcoef(left)[0, 1]))


def test_of_columns_that_stand_still_covariances_over_periods_tell_a_partys_own_scores() -> None:
    assert read(still=True) > 0.6
    assert read(still=False) < 0.4
