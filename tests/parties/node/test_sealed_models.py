"""Every kind of top model, every loss and several horizons, sealed through both roles' code: their twins' scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.parties.node.test_warm_start import ENTITIES, PERIODS, Consortium, agreement, consortium, difference
from vfl.models.split.top import LabelHead
from vfl.models.split.training import scores_by_horizon
from vfl.terms import Horizon, WalkForward


class Cold(Consortium):
    """Without a warm start: columns go in as they are."""

    def turned(self) -> list[NDArray[np.float64]]:
        return [x.reshape(PERIODS * ENTITIES, -1) for x in self.values.values()]


def cold(walk: WalkForward | None = None, **model: Any) -> Cold:
    terms = consortium("none", **model).terms
    return Cold(terms if walk is None else terms.model_copy(update={"walk_forward": walk}))


@pytest.mark.parametrize("loss", ["regression", "mse", "ic", "rank_ic", "logistic"])
@pytest.mark.parametrize("top", ["linear", "mlp", "residual"])
def test_every_kind_and_loss_equals_its_twin(top: str, loss: str) -> None:
    sealed = cold(top=top, loss=loss, warmup_epochs=1)
    result = sealed.attempt()
    assert difference(result, sealed.twin()) < 2e-3
    np.testing.assert_array_equal(sealed.counted("a"), result.openings.reshape(-1))
    if (top, loss) != ("residual", "regression"):
        assert difference(cold(warmup_epochs=1).twin(), sealed.twin()) > 0.05


def test_several_horizons_equal_their_twin_and_open_no_more() -> None:
    slow = (Horizon(name="slow", periods=2, share=0.3), Horizon(name="slower", periods=3))
    walk = WalkForward(horizon=1, warmup=2, horizons=slow)
    sealed = cold(walk)
    rng, known = np.random.default_rng(3), np.repeat(np.arange(PERIODS)[:, None], ENTITIES, axis=1)
    further = tuple(sealed.panel.label + rng.normal(size=known.shape) for _ in slow)
    sealed.panel = replace(sealed.panel, further=further, further_known=(known + 2, known + 3))
    result, plain = sealed.attempt(), sealed.twin()
    assert difference(result, plain) < 1e-3
    head = LabelHead(sealed.model, 1, shares=walk.shares)
    each, theirs = (scores_by_horizon(head, one, sealed.panel) for one in (result, plain))
    assert each.shape == (PERIODS, ENTITIES, 3)
    np.testing.assert_allclose(each, theirs, atol=2e-3 * np.nanstd(theirs))
    assert sealed.counted("a").max() <= 1 + sealed.model.warmup_epochs


def test_agreements_refuse_what_does_not_go_together() -> None:
    horizons = {"horizons": [{"name": "slow", "periods": 3, "share": 0.5}]}
    base = agreement({"embedding_width": 1}, limit_per_row=4).model_dump(mode="json")
    kind = type(agreement({"embedding_width": 1}, limit_per_row=4))
    assert kind.model_validate(base | {"walk_forward": horizons}).walk_forward.longest == 3
    with pytest.raises(ValueError, match="one output per label"):
        kind.model_validate(base | {"walk_forward": horizons, "model": {"kind": "ridge"}})
    with pytest.raises(ValueError, match="no common unit"):
        kind.model_validate(base | {"walk_forward": horizons, "model": {"embedding_width": 1, "loss": "ic"}})
