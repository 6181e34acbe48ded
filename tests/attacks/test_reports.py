"""What the coordinator hears while a run is under way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from parties.node import context
from psi.flow import Progress


@pytest.mark.parametrize("told", [True, False])
def test_losses_reach_the_coordinator_only_where_the_agreement_says_so(told: bool) -> None:
    heard: list[Any] = []
    agreement = SimpleNamespace(evaluation=SimpleNamespace(metrics_to_coordinator=told))
    run: Any = SimpleNamespace(agreement=agreement, tell=heard.append)
    channel: Any = SimpleNamespace(meter=SimpleNamespace(by_kind=lambda direction: {}))
    watch = context._Watch(run, channel, "train", 1)
    watch(Progress(3, 3, metrics={"period": 2.0, "loss": 0.7, "ic": 0.1, "gain": 0.02}))
    assert set(heard[0]["metrics"]) == ({"period", "loss", "ic", "gain"} if told else {"period"})
