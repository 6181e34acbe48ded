"""A placebo run at the label party: the permuted panel, and the tested factor's next version with the result in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.errors import ConfigError, DataError
from parties.factor.delivery import described, next_version, read_bundle
from parties.factor.tables import superseding
from parties.node.context import RunContext
from vfl.factors.evaluate import Evaluation
from vfl.factors.export import Signer, reissue_bundle
from vfl.factors.panel import LabelPanel
from vfl.factors.placebo import entity_order, permuted_panel, placebo_run
from vfl.factors.verify import METADATA, verify_bundle

__all__ = ["PlaceboResult", "strangers"]

F64 = NDArray[np.float64]


def strangers(panel: LabelPanel, seed: int) -> LabelPanel:
    """The panel as a placebo sees it: the feature parties' rows belong to other entities."""
    return permuted_panel(panel, entity_order(panel.label.shape[1], seed))


class PlaceboResult:
    """Where the tested factor lies at this node, and what becomes of it. ``factor`` is the folder of its versions.

    Raises :class:`ConfigError` before anything is opened when the tested run's factor is not here or not ours.
    """

    def __init__(self, context: RunContext, factor: Path) -> None:
        terms = context.agreement.placebo
        assert terms is not None
        self._context = context
        self._terms = terms
        folder = factor / terms.of[:12]
        while newer := superseding(folder):
            if _caused_by(folder.parent / newer, context.run_id):
                break
            folder = folder.parent / newer
        self._latest = folder
        if not (folder / METADATA).is_file():
            raise ConfigError(f"{folder}: the factor that this placebo tests is not here; put its folder back")
        self._files = read_bundle(folder)
        key = bytes.fromhex(context.identity.public_key)
        if not verify_bundle(self._files, trusted={context.me: key}).authentic:
            raise DataError(f"{folder}: not as this node signed it; put the original back before testing it")

    @property
    def folder(self) -> Path:
        """The version that holds the result: the one stored before an interruption, or the next."""
        newer = superseding(self._latest)
        return self._latest.parent / (newer or next_version(self._latest))

    def bundle(self, evaluation: Evaluation, openings: int) -> dict[str, bytes]:
        """The tested factor's next version, signed: same scores, the placebo's result in its validation."""
        told, context = json.loads(self._files["validation.json"]), self._context
        models = told["models"]
        placebo = dict(zip(evaluation.periods, evaluation.ics["joint"]["rank"], strict=True))
        found = placebo_run(
            _series(models["joint"]),
            np.array([placebo.get(period, np.nan) for period in told["periods"]], dtype=np.float64),
            horizon=max(context.agreement.walk_forward.horizon, 1),
            openings=openings,
            own=_series(models["own"]) if "own" in models else None,
            run_id=context.run_id,
        )
        identity = context.identity
        return reissue_bundle(
            self._files,
            Signer(identity.name, bytes.fromhex(identity.public_key), identity.key.sign),
            version=self.folder.name,
            why=f"holds the result of its permuted placebo, run {context.run_id[:12]}",
            run_id=context.run_id,
            found=found,
        )


def _series(model: dict[str, Any]) -> F64:
    """Rank ICs by period, NaN where there is none."""
    values = model["rank"]["by_period"]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _caused_by(folder: Path, run_id: str) -> bool:
    """Whether this version was made by that run."""
    said = described(read_bundle(folder)).get("supersedes") or {}
    return bool(said.get("run_id") == run_id)
