"""A demo's run on static data of several classes beside its twins and each party alone, on the test rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.demo.anchored_twins import AnchoredTwins
from parties.demo.parity import Parity
from parties.errors import DataError
from vfl.factors.bundle_metadata import SCORES
from vfl.factors.class_quality import class_quality
from vfl.factors.static_quality import HEADLINE
from vfl.models.classes.rest import against_the_rest, class_name, class_scores
from vfl.terms import AnchoredModel

__all__ = ["class_measures", "class_parity"]

F64 = NDArray[np.float64]


def _of_class(twins: AnchoredTwins, number: int) -> AnchoredTwins:
    return replace(twins, label=against_the_rest(twins.label, number), named=class_name(number))


def _exported(twins: AnchoredTwins, entities: Sequence[str], folder: Path) -> F64:
    """The exported estimates (n, classes), NaN where a row has none."""
    static = twins.agreement.static
    assert static is not None
    table = pd.read_parquet(folder / SCORES)
    place = pd.Index(np.array(entities, dtype=object)).get_indexer(pd.Index(table["entity"], dtype=object))
    if (place < 0).any():
        raise DataError(f"{folder}: the scores have rows that the parties do not share: alignment went wrong")
    found = np.full((len(entities), static.models), np.nan)
    found[place] = table[[f"score_{number}" for number in range(static.models)]].to_numpy(dtype=np.float64)
    return found


def class_parity(twins: AnchoredTwins, entities: Sequence[str], folder: Path) -> Parity:
    """The class whose scores are furthest from those of its twin; what is no rounding comes first."""
    model, estimates = twins.agreement.model, _exported(twins, entities, folder)
    assert isinstance(model, AnchoredModel)
    found = []
    for number in range(estimates.shape[1]):
        one = _of_class(twins, number)
        assert one.label.scale is not None
        centre, spread = one.label.scale
        scores = np.full(one.label.label.shape, np.nan)
        scores[1] = (estimates[:, number] - centre) / spread
        found.append(one.parity(model, scores))
    return max(found, key=lambda near: (bool(near.cause) and not near.within, near.floats))


def class_measures(
    twins: AnchoredTwins, entities: Sequence[str], folder: Path, single: Sequence[str]
) -> dict[str, Any]:
    """Of the joint estimates and of each party alone. single: feature parties of which the first measure is told."""
    model, static, label = twins.agreement.model, twins.agreement.static, twins.label
    assert static is not None
    assert isinstance(model, AnchoredModel)
    each = [_of_class(twins, number) for number in range(static.models)]
    shown = {"joint": _exported(twins, entities, folder)}
    own = twins.agreement.label.party
    for name in (*single, *((own,) if label.features.columns else ())):
        shown[name] = class_scores([one.label for one in each], [one.alone(model, name) for one in each])[1]
    trained = label.label[0][label.universe[0] & np.isfinite(label.label[0])].astype(np.int64)
    base = np.bincount(trained, minlength=static.models) / len(trained)
    found = class_quality(label.label[1], shown, base)
    measures = {
        name: {what: value if math.isfinite(value) else None for what, value in by.items()}
        for name, by in found.measures.items()
    }
    return {
        "single": {name: measures[name][HEADLINE["classes"]] for name in single},
        "measures": measures,
        "test_rows": found.rows,
        "better_than": {},
    }
