"""Sealed trees on static data of two parties: ``python -m benchmarks.a9a_trees DIR [--held-out]``.

DIR holds FedTree's vertical split of a9a. In the twin, which grows the trees that a run grows of the same seeds, and
beside it scikit-learn's HistGradientBoosting on both parties' columns in one place, of as many trees of the same depth
at the same rate. ``--held-out`` judges by a quarter of the training rows, without the test file. It takes minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._a9a import A9a, load_a9a
from vfl.models.sealed.columns import static_labels
from vfl.models.trees.twin import IntegerTwin, run_twin
from vfl.terms import FixedPoint, SealedModel
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static
from vfl.walk.schedule import Step

__all__ = ["TERMS", "boosted_auc", "held_out", "main", "trees_auc"]

I64 = NDArray[np.int64]

TERMS = TreesModel(trees=50, depth=6, candidates=16, rate=0.3, blocks=2)


def held_out(data: A9a) -> tuple[I64, I64]:
    """Three quarters of the training rows, and the fourth."""
    order = np.random.default_rng(0).permutation(data.trained).astype(np.int64)
    return np.sort(order[data.trained // 4 :]), np.sort(order[: data.trained // 4])


def trees_auc(data: A9a, terms: TreesModel, fitted: I64, judged: I64) -> float:
    """AUC of the twin's scores of ``judged`` rows, of trees that are fitted to ``fitted`` ones."""
    from sklearn.metrics import roc_auc_score

    sides = {name: side.astype(np.float64) for name, side in zip(("feature", "label"), data.sides, strict=True)}
    known = np.full(len(data.classes), np.nan)
    known[fitted] = data.classes[fitted]
    label = static_labels(known)
    steps = [step for step in refits_static(terms, len(known), fitted) if step.kind == "train"]
    steps.append(Step(len(steps), "predict", 0, judged))
    twin = IntegerTwin(sides, {name: name.encode().ljust(32) for name in sides}, terms, deal=False)
    scores = run_twin(twin, steps, lambda step: label[step.rows])
    return float(roc_auc_score(data.classes[judged], scores[judged]))


def boosted_auc(data: A9a, terms: TreesModel, fitted: I64, judged: I64) -> float:
    """AUC of boosting in the clear: as many trees, as deep, at the same rate."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    whole = np.concatenate(data.sides, axis=1)
    model = HistGradientBoostingClassifier(
        max_iter=terms.trees,
        max_depth=terms.depth,
        max_leaf_nodes=2**terms.depth,
        learning_rate=terms.rate,
        early_stopping=False,
        random_state=0,
    ).fit(whole[fitted], data.classes[fitted])
    return float(roc_auc_score(data.classes[judged], model.predict_proba(whole[judged])[:, 1]))


def main(arguments: list[str] | None = None) -> None:
    """Print the AUC of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where a9a_vertical_p0.libsvm.gz and its kin are")
    parser.add_argument("--held-out", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.folder is None:
        print("no data: name the folder of FedTree's vertical split of a9a")
        return
    try:
        data = load_a9a(asked.folder, SealedModel(), FixedPoint())
    except FileNotFoundError as error:
        print(error)
        sys.exit(1)
    rows = held_out(data) if asked.held_out else (np.arange(data.trained, dtype=np.int64), data.tested)
    mine, clear = (of(data, TERMS, *rows) for of in (trees_auc, boosted_auc))
    said = f"{TERMS.trees} trees of depth {TERMS.depth} at rate {TERMS.rate}, {len(rows[1]):,} rows judged"
    print(f"{said}: AUC {mine:.4f}, HistGradientBoosting {clear:.4f}")


if __name__ == "__main__":
    main()
