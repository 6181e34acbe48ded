"""Static data of two parties, one-hot, through the encrypted protocol: the bar of the a9a data."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks._a9a import load_a9a
from benchmarks.a9a import FIXED, TERMS, auc, encrypted, in_plain_integers
from tests.places import SHARED_DATA

FOLDER = SHARED_DATA / "fedtree_a9a"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no data at {FOLDER}; set ENTENTE_SHARED_DATA"),
]


@pytest.mark.system
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_two_parties_reach_the_bar_on_the_test_file_encrypted() -> None:
    """Every row of both files: each party in a process of its own. Only the test file's rows open a score."""
    data = load_a9a(FOLDER, TERMS, FIXED)
    scores = encrypted(FOLDER, passes=4)
    assert np.isfinite(scores).sum() == len(data.tested) == 16_281
    assert auc(data, scores) >= 0.90
    assert auc(data, in_plain_integers(data, passes=4)) == pytest.approx(auc(data, scores), abs=2e-3)


def test_neither_party_reaches_it_alone() -> None:
    data = load_a9a(FOLDER, TERMS, FIXED)
    for side in data.sides:
        alone = type(data)((side, side[:, :0]), data.classes, data.label)
        assert auc(data, in_plain_integers(alone, passes=4)) < 0.895
