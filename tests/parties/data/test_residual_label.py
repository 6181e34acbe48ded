"""A residual target: orthogonal to what was named, of no label from later, signed, and told wherever the label is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.data.residual_label import residual_panel
from parties.errors import DataError
from parties.proposing.drafting import terms_of
from tests.parties.agreement.test_model_terms import agreement
from vfl.factors.panel import FeaturePanel, LabelPanel

T, N = 6, 60
RNG = np.random.default_rng(2)
EXPOSURES = RNG.normal(size=(T, N, 3))
LABEL = 2 * EXPOSURES[..., 0] - EXPOSURES[..., 2] + RNG.normal(size=(T, N))


def panel(label: np.ndarray = LABEL, known: np.ndarray | None = None) -> LabelPanel:
    """Columns size, momentum and beta of the label party; labels known one period later."""
    never = np.full((T, N), np.datetime64("NaT", "ns"))
    features = FeaturePanel(("size", "momentum", "beta"), EXPOSURES, np.ones((T, N), dtype=bool), never, never)
    late = np.repeat(np.arange(T)[:, None] + 1, N, axis=1) if known is None else known
    return LabelPanel(features, label, late, np.ones((T, N), dtype=bool))


def test_the_residual_has_nothing_of_the_columns_and_keeps_the_rest() -> None:
    found = residual_panel(panel(), ("size", "beta"))
    for t in range(T):
        for column in (0, 2):
            assert abs(np.corrcoef(found.label[t], EXPOSURES[t, :, column])[0, 1]) < 1e-9
        assert found.label[t].mean() == pytest.approx(0, abs=1e-12)
        assert found.label[t].std() == pytest.approx(1)
    rest = LABEL - 2 * EXPOSURES[..., 0] + EXPOSURES[..., 2]
    assert np.corrcoef(found.label.ravel(), rest.ravel())[0, 1] > 0.95
    assert residual_panel(panel(), ()).label is LABEL
    further = replace(panel(), further=(LABEL,), further_known=(panel().known_from,))
    assert np.array_equal(residual_panel(further, ("size", "beta")).further[0], found.label)


def test_no_row_sees_a_label_that_was_known_later() -> None:
    known = np.repeat(np.arange(T)[:, None] + 1, N, axis=1)
    late = np.arange(N) >= 40
    known[:, late] += 2
    before = residual_panel(panel(known=known), ("size",)).label
    other = LABEL.copy()
    other[:, late] += 5 * RNG.normal(size=(T, int(late.sum())))
    after = residual_panel(panel(other, known), ("size",)).label
    assert np.array_equal(before[:, ~late], after[:, ~late]), "early rows do not know of late labels"
    assert not np.allclose(before[:, late], after[:, late])
    changed = LABEL.copy()
    changed[3:] = RNG.normal(size=(3, N))
    assert np.array_equal(
        residual_panel(panel(changed), ("size",)).label[:3], residual_panel(panel(), ("size",)).label[:3]
    ), "nor does a period know of another"


def test_too_few_labels_are_unknown_and_a_label_that_is_a_column_is_nothing() -> None:
    few = np.where(np.arange(N) < 12, LABEL, np.nan)
    assert np.isfinite(residual_panel(panel(few), ("size",)).label[:, :12]).all()
    assert np.isnan(residual_panel(panel(few), ("size", "beta")).label).all()
    spelled = residual_panel(panel(EXPOSURES[..., 0]), ("size",)).label
    assert np.array_equal(spelled, np.zeros((T, N)))
    with pytest.raises(
        DataError, match=r"label\.residual names 'value', which is no column of the label party; it has size"
    ):
        residual_panel(panel(), ("value",))


def with_residual(*names: str) -> Agreement:
    body = agreement({"kind": "split"}).model_dump()
    return Agreement.model_validate(body | {"label": body["label"] | {"residual": names}})


def test_it_is_one_key_of_the_agreement() -> None:
    plain, residual = agreement({"kind": "split"}), with_residual("own")
    assert b"residual" not in plain.canonical(), "an agreement without one keeps its hash"
    assert plain.run_id != residual.run_id
    assert any(
        line.startswith("The target is a residual: what own, columns of l") for line in agreement_lines(residual)
    )
    assert terms_of(residual)["label"] == {"name": "y", "definition": "y", "residual": ["own"]}
    with pytest.raises(
        ValidationError, match=r"label\.residual names 'a', which is no column of 'l': name some of own"
    ):
        with_residual("a")
    with pytest.raises(ValidationError, match="names a column twice"):
        with_residual("own", "own")
