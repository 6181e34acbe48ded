"""A residual target: what the label party's own columns leave of its label, period by period, as it was known.

The fit of a period is over the entities of that period, on the columns' values at its cutoff. A row sees only labels
that were known when its own was, so no training ever meets a label from later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from parties.errors import DataError
from vfl.factors.evaluate import MINIMUM_ROWS
from vfl.factors.panel import LabelPanel

__all__ = ["residual_panel"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def residual_panel(panel: LabelPanel, names: Sequence[str]) -> LabelPanel:
    """The panel with every label less its least-squares fit on a constant and the named own columns, standardised.

    A label whose period has fewer than :data:`MINIMUM_ROWS` more known labels than columns becomes unknown. Raises
    :class:`DataError` for a column that the label party does not have.
    """
    if not names:
        return panel
    strange = [name for name in names if name not in panel.features.columns]
    if strange:
        raise DataError(
            f"label.residual names {strange[0]!r}, which is no column of the label party; it has "
            f"{', '.join(panel.features.columns) or 'none'}"
        )
    places = [panel.features.columns.index(name) for name in names]
    exposures = panel.features.values[:, :, places]
    return replace(
        panel,
        label=_residual(panel.label, panel.known_from, exposures),
        further=tuple(
            _residual(label, known, exposures) for label, known in zip(panel.further, panel.further_known, strict=True)
        ),
    )


def _residual(label: Floats, known_from: Ints, exposures: Floats) -> Floats:
    """label float64 (T, n), exposures float64 (T, n, k)."""
    out = np.full(label.shape, np.nan)
    least = exposures.shape[2] + 1 + MINIMUM_ROWS
    for t in range(len(label)):
        labelled = np.isfinite(label[t])
        for moment in np.unique(known_from[t][labelled]):
            seen = labelled & (known_from[t] <= moment)
            if seen.sum() < least:
                continue
            design = np.column_stack([np.ones(int(seen.sum())), exposures[t, seen]])
            y = label[t, seen]
            rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
            spread = float(rest.std())
            # what the columns spell out leaves rounding, which must not be blown up to a label
            scaled = rest / spread if spread > 1e-9 * max(float(y.std()), 1e-12) else np.zeros_like(rest)
            whole = np.full(label.shape[1], np.nan)
            whole[seen] = scaled
            mine = labelled & (known_from[t] == moment)
            out[t][mine] = whole[mine]
    return out
