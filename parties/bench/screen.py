"""A screen between processes, with one product planted among all: how long it takes, and what it names."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.bench.session import Part, run_session
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Role
from vfl.arithmetic.randomness import SecretStream
from vfl.models.screen.feature import ScreenFeature
from vfl.models.screen.formulas import trials_of
from vfl.models.screen.judge import judged
from vfl.models.screen.label import ScreenLabel
from vfl.models.screen.messages import ScreenMembers
from vfl.models.screen.numbers import RANK_TOP, label_integers
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.screen_terms import ScreenModel

__all__ = ["ScreenShape", "bench_screen"]

LABEL = "label"
_STRENGTH = 0.3
"""Of the planted product beside noise of deviation 1: its correlation with the label is about 0.1."""


@dataclass(frozen=True)
class ScreenShape:
    """entities of each of ``periods``; terminals of each feature party."""

    entities: int
    periods: int
    terminals: int
    parties: int

    @property
    def members(self) -> ScreenMembers:
        names = tuple(f"p{i}" for i in range(self.parties))
        return ScreenMembers(LABEL, names, self.periods, self.entities, self.terminals, False)

    @property
    def products(self) -> int:
        """Products of two parties' terminals."""
        return len(list(combinations(range(self.parties), 2))) * self.terminals**2


def bench_screen(shape: ScreenShape) -> dict[str, Any]:
    """Time a whole screen with its judgement. named: what it names, where the first terminals' product is planted."""
    parts = {LABEL: Part(Role.LABEL, _label_part, {"shape": shape})}
    for name in shape.members.features:
        parts[name] = Part(Role.FEATURE, _feature_part, {"shape": shape})
    measured = run_session(parts)
    found: dict[str, Any] = measured[LABEL].result
    return {
        **asdict(shape),
        **found,
        "products": shape.products,
        "bytes": {name: sum(size for _, size in m.sent.values()) for name, m in measured.items()},
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
    }


def _terminals(shape: ScreenShape, name: str) -> NDArray[np.int64]:
    size = (shape.periods, shape.entities, shape.terminals)
    return np.random.default_rng(int(name[1:]) + 1).integers(-RANK_TOP, RANK_TOP + 1, size=size)


def _label_part(name: str, shape: ScreenShape) -> Flow[dict[str, Any]]:
    del name
    first, *others = shape.members.features
    planted = _terminals(shape, first)[:, :, 0] / RANK_TOP
    if others:
        planted = planted * _terminals(shape, others[0])[:, :, 0] / RANK_TOP
    label = 3 * _STRENGTH * planted + np.random.default_rng(0).normal(size=planted.shape)
    labels = label_integers(label, np.ones_like(label, dtype=bool))
    none = np.zeros((*labels.shape, 0), dtype=np.int64)
    side = ScreenLabel(shape.members, labels, none, LabelKeys(coefficient_key(), slot_key()))
    began = time.monotonic()
    opened = yield from side.screen()
    seconds = time.monotonic() - began
    found = judged(trials_of(opened, LABEL, labels), ScreenModel(), horizon=1)
    judging = time.monotonic() - began - seconds
    yield from side.tell(dict.fromkeys(shape.members.features, b"{}"))
    return {
        "seconds": seconds,
        "judging_seconds": judging,
        "formulas": len(found.trials.formulas),
        "numbers_left_out": found.trials.lost,
        "named": [str(found.formula(trial)) for trial in found.winners],
        "t_first": [float(found.first.t[trial]) for trial in found.winners],
    }


def _feature_part(name: str, shape: ScreenShape) -> Flow[bytes]:
    side = ScreenFeature(
        name, shape.members, _terminals(shape, name), SecretStream(os.urandom(32)), supply=PreparedZeros
    )  # fmt: skip
    return (yield from side.serve())
