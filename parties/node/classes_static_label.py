"""The label party's part in a run on static data of several classes: estimates of each are measured and exported."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from parties.node.classes_label import ClassesJoint
from parties.node.static_label import StaticLabelParty
from vfl.factors.class_estimates import most_likely
from vfl.factors.class_quality import class_quality
from vfl.factors.static_quality import StaticQuality

__all__ = ["ClassesLabelParty"]

F64 = NDArray[np.float64]


class ClassesLabelParty(StaticLabelParty):
    """The same with estimates (n, classes) in place of a score."""

    @property
    def _joint(self) -> F64:
        found: F64 = self.result.embeddings[1]
        return found

    @property
    def _scored(self) -> F64:
        return self.result.embeddings

    def _alone(self) -> F64:
        assert isinstance(self._model, ClassesJoint)
        made = np.where(np.isnan(self.result.embeddings), np.nan, self._model.estimates_alone())
        self._own = most_likely(made)
        found: F64 = made[1]
        return found

    def _measured(self, scores: Mapping[str, F64]) -> StaticQuality:
        static, trained = self.context.agreement.static, self.panel.label[0][self.panel.universe[0]]
        assert static is not None
        known = trained[np.isfinite(trained)].astype(np.int64)
        base = np.bincount(known, minlength=static.models) / len(known)
        return class_quality(self._truth, scores, base)
