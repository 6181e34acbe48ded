"""The a9a data (UCI Adult, one-hot) split between two parties: columns as each brings them, labels, test rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfl.models.sealed.columns import sealed_columns, static_labels
from vfl.terms import FixedPoint, SealedModel

__all__ = ["WIDTHS", "A9a", "load_a9a", "vertical_files"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

WIDTHS = (61, 62)


@dataclass(frozen=True)
class A9a:
    """Training rows first, then test rows. sides: each party's columns as small integers (rows, d).

    classes: 0 or 1 of every row. label: of the training rows, standardised; NaN in the test rows.
    """

    sides: tuple[I64, I64]
    classes: F64
    label: F64

    @property
    def trained(self) -> int:
        return int(np.isfinite(self.label).sum())

    @property
    def tested(self) -> I64:
        """Row numbers of the test file."""
        return np.arange(self.trained, len(self.classes), dtype=np.int64)


def vertical_files(folder: Path) -> list[Path]:
    """Both parties' training files, then the test file. Raises FileNotFoundError, in one sentence."""
    files = [folder / f"a9a_vertical_{name}.libsvm.gz" for name in ("p0", "p1", "test")]
    missing = next((file.name for file in files if not file.is_file()), None)
    if missing is not None:
        raise FileNotFoundError(f"{folder} has no {missing}: name the folder of FedTree's vertical split of a9a")
    return files


def load_a9a(folder: Path, terms: SealedModel, fixed: FixedPoint) -> A9a:
    """From FedTree's vertical split: ``a9a_vertical_p0``, ``_p1`` and ``_test``, libsvm.

    Each party standardises its own columns by its training rows. Raises FileNotFoundError.
    """
    from sklearn.datasets import load_svmlight_file

    files = vertical_files(folder)
    read = [load_svmlight_file(str(f), n_features=n) for f, n in zip(files, (*WIDTHS, sum(WIDTHS)), strict=True)]
    (one, label), (two, _), (both, tested) = [(np.asarray(x.todense()), y) for x, y in read]
    parts = np.hsplit(both, [WIDTHS[0]])
    sides = [
        sealed_columns(_standardised(mine, theirs), terms, fixed) for mine, theirs in ((one, parts[0]), (two, parts[1]))
    ]
    classes = (np.concatenate([label, tested]) > 0).astype(np.float64)
    known = classes.copy()
    known[len(label) :] = np.nan
    return A9a((sides[0], sides[1]), classes, static_labels(known))


def _standardised(trained: F64, tested: F64) -> F64:
    spread = trained.std(axis=0)
    scaled = np.concatenate([trained, tested]) - trained.mean(axis=0)
    found: F64 = scaled / np.where(spread > 0, spread, 1.0)
    return found
