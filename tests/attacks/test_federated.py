"""Inverting an update: a linear layer's gradient gives its row away, and a masked part or a sum of several does not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.vfl.federated.rig import rounds_of, trained
from vfl.federated.messages import PlainUpdate, SumPart
from vfl.federated.updates import RING, averaged
from vfl.federated_terms import FederatedModel

F64 = NDArray[np.float64]
FIVE = ("a", "b", "c", "d", "e")
COLUMNS = 12


class OneRow:
    """A linear layer, trained on one row by one step down the gradient of its squared error."""

    rows = 1

    def __init__(self, row: F64, label: float) -> None:
        self.row, self.label = row, label

    def train(self, weights: F64, number: int) -> F64:
        error = self.row @ weights[:-1] + weights[-1] - self.label
        return weights - 0.1 * error * np.append(self.row, 1.0)


def inverted(update: F64) -> F64:
    """The row behind an update: the layer's gradient is the error times the row, and its bias' the error."""
    return update[:-1] / update[-1]


def members() -> dict[str, OneRow]:
    draw = np.random.default_rng(3)
    return {name: OneRow(draw.normal(size=COLUMNS), float(draw.normal()) + 2.0) for name in FIVE}


def likeness(found: F64, row: F64) -> float:
    return float(abs(np.corrcoef(found, row)[0, 1]))


@pytest.mark.parametrize("rule", ["median", "trimmed"])
def test_a_single_update_that_is_shown_gives_its_row_away(rule: str) -> None:
    terms = FederatedModel(rounds=1, rule=rule, weights="equal")
    _, sent = trained(rounds_of(terms, FIVE, COLUMNS + 1), members(), np.zeros(COLUMNS + 1))
    shown = {who: said for who, _, said in sent if isinstance(said, PlainUpdate)}
    for name, member in members().items():
        update = RING.decode(RING.unpack(shown[name].values, COLUMNS + 1), terms.fraction_bits)
        np.testing.assert_allclose(inverted(update), member.row, atol=1e-4)


def test_masked_parts_and_their_sum_give_no_row_away() -> None:
    terms = FederatedModel(rounds=1)
    results, sent = trained(rounds_of(terms, FIVE, COLUMNS + 1), members(), np.zeros(COLUMNS + 1))
    parts = {who: RING.unpack(said.values, COLUMNS + 2) for who, _, said in sent if isinstance(said, SumPart)}
    opened = results["a"].weights
    for name, member in members().items():
        masked = RING.decode(parts[name][:-1], terms.fraction_bits)
        assert likeness(inverted(masked), member.row) < 0.95
        assert np.abs(masked).max() > 2.0**30, "uniform in the ring: far beyond any update"
        assert np.abs(inverted(opened) - member.row).max() > 0.3
    # all but the target's own colluders still lack the last mask: the parts of four and the sum give what is theirs
    total = np.zeros(COLUMNS + 2, dtype=np.uint64)
    for part in parts.values():
        total = RING.add(total, part)
    assert not np.allclose(averaged(total, terms) if RING.signed(total[-1:])[0] > 0 else np.inf, opened)


def test_masked_parts_are_uniform() -> None:
    """The same update twice, under other secrets: the top bits of what the coordinator receives are fair coins."""
    terms = FederatedModel(rounds=40)
    _, sent = trained(rounds_of(terms, FIVE, COLUMNS + 1), members(), np.zeros(COLUMNS + 1))
    elements = np.concatenate([RING.unpack(said.values, COLUMNS + 2) for *_, said in sent if isinstance(said, SumPart)])
    ones = (elements >> np.uint64(62)) & np.uint64(1)
    assert abs(float(ones.mean()) - 0.5) < 4 * 0.5 / np.sqrt(len(ones))


def test_all_members_of_a_round_but_one_read_its_row_and_one_fewer_a_sum_of_two() -> None:
    """A declared limit: members who collude take their own updates off the average, with or without the coordinator."""
    terms, found = FederatedModel(rounds=1), members()
    results, _ = trained(rounds_of(terms, FIVE, COLUMNS + 1), found, np.zeros(COLUMNS + 1))
    opened = results["e"].weights * len(FIVE)
    own = {name: found[name].train(np.zeros(COLUMNS + 1), 0) for name in FIVE}
    victim = opened - sum(own[name] for name in FIVE[1:])
    np.testing.assert_allclose(inverted(victim), found["a"].row, atol=1e-4)
    two = opened - sum(own[name] for name in FIVE[2:])
    for name in FIVE[:2]:
        assert np.abs(inverted(two) - found[name].row).max() > 0.3
