"""The label party's part in a run on static data: what differs from a factor's is what is measured and exported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.static_terms import TEST, TRAINING
from parties.node.label import LabelParty
from vfl.factors.bundle_metadata import StaticMetadata
from vfl.factors.static_export import StaticBundle, export_static
from vfl.factors.static_quality import StaticQuality, static_quality

__all__ = ["StaticLabelParty"]

F64 = NDArray[np.float64]

_UNITS = {
    "binary": "least-squares estimate of the probability of 1, which may leave [0, 1]",
    "regression": "units of the label",
    "classes": "least-squares estimate of the share of the class, which may leave [0, 1]",
}


class StaticLabelParty(LabelParty):
    """Measures on the test rows and exports a score of each; there are no periods to speak of."""

    _quality: StaticQuality | None = None

    def evaluate(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Measures of the joint scores and of the label party's own model: summary, and nothing by period."""
        terms, scores = self.context.agreement.static, {"joint": self._joint}
        assert terms is not None
        if self.panel.features.values.shape[-1]:
            scores["own"] = self._alone()
        self._quality = found = self._measured(scores)
        told = {
            name: {what: None if np.isnan(value) else value for what, value in values.items()}
            for name, values in found.measures.items()
        }
        return {"static": {"label": terms.label, "rows": found.rows, "measures": told}}, []

    @property
    def _joint(self) -> F64:
        """The joint scores as they are exported."""
        return self._as_labels(self.result.scores)

    def _alone(self) -> F64:
        """Scores of the same model on the label party's own columns, as the joint ones."""
        self._own = np.where(np.isnan(self.result.scores), np.nan, self._model.alone())
        return self._as_labels(self._own)

    def _measured(self, scores: Mapping[str, F64]) -> StaticQuality:
        terms, (centre, _) = self.context.agreement.static, self._scale
        assert terms is not None
        return static_quality(self._truth, scores, terms.label, centre)

    def _be_evaluated(self) -> None:
        if self._quality is None:
            self.evaluate()

    @property
    def _scale(self) -> tuple[float, float]:
        assert self.panel.scale is not None
        return self.panel.scale

    def _as_labels(self, values: F64) -> F64:
        """The test rows' values (T, n), standardised, on the scale of the label, (n,)."""
        centre, spread = self._scale
        found: F64 = centre + spread * values[1]
        return found

    @property
    def _truth(self) -> F64:
        """The test rows' labels as they were read."""
        terms, values = self.context.agreement.static, self._as_labels(self.panel.label)
        assert terms is not None
        return values if terms.label == "regression" else np.rint(values)

    def bundle(self) -> dict[str, bytes]:
        """The signed bundle of scores."""
        self._be_evaluated()
        assert self._quality is not None
        terms, (trained, tested) = self.context.agreement.static, self.panel.universe
        assert terms is not None
        others = [path for path in self.folder.parent.glob("*/metadata.json") if path.parent != self.folder]
        drawn = "as the label party says"
        if terms.test_share is not None:
            drawn = f"{terms.test_share:.0%} of the entities are the test, by a hash of seed {terms.seed} and name"
        metadata = StaticMetadata(
            **self._told() | {"unit": _UNITS[terms.label]},
            n_trials=1 + len(others),
            openings_used=self.context.agreement.opened_scores,
            label_kind=terms.label,
            parts=drawn,
        )
        parts = np.where(tested, TEST, np.where(trained, TRAINING, ""))
        return export_static(
            StaticBundle(self._entities, self._joint, [str(part) for part in parts], metadata, self._quality),
            self._signer,
        )
