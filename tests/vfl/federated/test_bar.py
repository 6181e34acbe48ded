"""Four members whose data differ: training together is worth what their pooled rows are, and more than each alone."""

from __future__ import annotations

import torch

from benchmarks.federated import ENCODER, MODEL, compared, simulated


def test_four_members_reach_the_pooled_encoder_and_beat_the_mean_member_alone() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = compared(MODEL, ENCODER, simulated())
    finally:
        torch.set_num_threads(threads)
    assert found["federated"] > 0.95 * found["pooled"]
    assert found["federated"] > found["alone"] + 0.05
    assert found["pooled"] > found["untrained"] + 0.1, "the encoder is worth training"
