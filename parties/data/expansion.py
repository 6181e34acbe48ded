"""A party's local expansion: further columns made of its own, without labels, fitted on its first periods and frozen.

What a linear or second-order model cannot see in a column, a fixed function of it may show: on which side of zero a
value lies, in which bin, in which leaf of a tree that was cut at random. All of it happens at home and costs no
opening; the other parties sign what was made and what it was fitted on (:attr:`ExpansionSettings.declared`).

Nothing looks ahead: what is fitted (cuts, frequencies, bins, directions) saw the first ``fit_periods`` only, and makes
no columns for these. Signs and hinges are fitted on nothing, so they stand from the first period.

Source: random trees, Geurts, Ernst and Wehenkel (2006); random Fourier features, Rahimi and Recht (2007); both and
the bins as scikit-learn has them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parties.data.preprocess import cross_sectional_scores, winsorised
from parties.errors import ConfigError
from vfl.expansion_terms import ExpansionSettings, ExpansionShape
from vfl.federated.expansion import REACH

__all__ = ["bent", "expanded", "filled_scores"]

Floats = NDArray[np.float64]

_SMALL = 500
"""Rows or columns up to which all directions are found at once; beyond, the few that are asked for come far sooner."""


def expanded(raw: Floats, terms: ExpansionSettings, columns: tuple[str, ...], *, winsorise: float) -> Floats:
    """Made columns (T, n, m) of raw as-of values (T, n, d) with NaN where missing; NaN where there are none.

    ``columns`` names the d columns; m is the length of ``terms.output_columns(columns)``. An entity without any value
    at a period has none. Raises :class:`ConfigError` where the first periods hold too little for ``outputs``.
    """
    filled, known = filled_scores(raw, terms, columns, winsorise=winsorise)
    made = [bent(filled, known)] if terms.hinges else []
    if terms.fits:
        made.append(_fitted(filled, known, terms))
    out: Floats = np.concatenate(made, axis=2)
    return out


def filled_scores(
    raw: Floats, terms: ExpansionShape, columns: tuple[str, ...], *, winsorise: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Scores (T, n, d) of the columns that it reads, 0 where missing and cut at +-4, and which entities have any."""
    picked = [columns.index(name) for name in terms.read(columns)]
    scores, _ = cross_sectional_scores(winsorised(raw[:, :, picked], winsorise))
    known: NDArray[np.bool_] = np.logical_not(np.isnan(scores).all(axis=2))
    return np.clip(np.where(np.isfinite(scores), scores, 0.0), -REACH, REACH), known


def bent(filled: Floats, known: NDArray[np.bool_]) -> Floats:
    """Sign and hinge of each score, (T, n, 2 d); NaN where an entity has none."""
    made = np.concatenate([np.sign(filled), np.maximum(filled, 0.0)], axis=2)
    return np.where(known[:, :, None], made, np.nan)


def _fitted(filled: Floats, known: NDArray[np.bool_], terms: ExpansionSettings) -> Floats:
    """The columns (T, n, outputs) of trees, frequencies and bins, in whitened directions of the first periods."""
    # imported here, as only a party that expands needs it
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomTreesEmbedding
    from sklearn.kernel_approximation import RBFSampler
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import KBinsDiscretizer

    out = np.full((*filled.shape[:2], terms.outputs), np.nan)
    rows = filled[: terms.fit_periods][known[: terms.fit_periods]]
    if not known.any() or terms.fit_periods >= len(filled):
        return out
    parts = []
    if terms.trees:
        parts.append(
            RandomTreesEmbedding(
                n_estimators=terms.trees, max_depth=terms.depth, sparse_output=False, random_state=terms.seed
            )
        )
    if terms.fourier:
        width = 1.0 / filled.shape[2]
        parts.append(RBFSampler(gamma=width, n_components=terms.fourier, random_state=terms.seed))
    if terms.bins:
        parts.append(
            KBinsDiscretizer(
                n_bins=terms.bins, encode="onehot-dense", strategy="quantile", quantile_method="averaged_inverted_cdf"
            )
        )
    if len(rows) <= terms.outputs:
        raise ConfigError(
            f"expand.outputs = {terms.outputs} needs more than {terms.outputs} rows to fit on, and the first "
            f"{terms.fit_periods} periods hold {len(rows)}: raise expand.fit_periods or lower expand.outputs"
        )
    union = make_union(*parts)
    wide = union.fit(rows).transform(rows).shape[1]
    if wide < terms.outputs:
        raise ConfigError(
            f"expand makes {wide} columns of these data, fewer than expand.outputs = {terms.outputs}: "
            "lower expand.outputs, or raise expand.trees, expand.fourier or expand.bins"
        )
    solver = "full" if terms.outputs >= wide or min(wide, len(rows)) <= _SMALL else "arpack"
    pipeline = make_pipeline(union, PCA(terms.outputs, svd_solver=solver, whiten=True, random_state=terms.seed))
    pipeline.fit(rows)
    for period in range(terms.fit_periods, len(filled)):
        if known[period].any():
            out[period, known[period]] = pipeline.transform(filled[period, known[period]])
    return out
