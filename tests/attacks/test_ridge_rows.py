"""A label party that keeps to the joint ridge's protocol, with many columns of its own, and the rows of others.

It knows its columns, so each product of one of them with a feature column is a linear equation of that column's rows.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import RemoteProtocolError
from tests.vfl.models.test_ridge import block, run, turned
from vfl.terms import ROWS_PER_COLUMN, RidgeModel

F64 = NDArray[np.float64]
ROWS, OWN = 15, 16


def solved() -> tuple[F64, F64]:
    """What the label party solves for of the feature columns, (15, 3), from the moments that open to it; and those."""
    draw = np.random.default_rng(0)
    features = {"a": draw.normal(size=(ROWS, 1)), "b": draw.normal(size=(ROWS, 2))}
    own, label = draw.normal(size=(ROWS, OWN)), draw.normal(size=ROWS)
    made, _, _ = run(features, OWN + 1, block(np.arange(ROWS), own, label), RidgeModel())
    known = np.column_stack([own, label])
    seen = np.vstack([made.gram[3:, :3], made.cross[None, :3]])
    found: F64 = np.linalg.lstsq(known.T, seen, rcond=None)[0]
    return found, np.column_stack(list(turned(features).values()))


def test_with_as_many_own_columns_as_rows_it_solves_for_every_row_and_now_these_do_not_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows were held against the feature parties' columns alone: 15 rows for 3 columns, and 17 equations of each."""
    with monkeypatch.context() as patched:
        patched.setattr(RidgeModel, "smallest_block", lambda _, features, __: ROWS_PER_COLUMN * features)
        found, truth = solved()
    assert np.abs(found - truth).max() < 1e-3
    assert np.abs(np.abs(found[:, 0]) - np.abs(truth[:, 0])).max() < 1e-3, "of a lone column but for its sign"
    with pytest.raises(RemoteProtocolError, match="asks for moments of 15 rows; 100 are needed"):
        solved()
