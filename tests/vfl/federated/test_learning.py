"""Local training, robust averages and what is spent of differential privacy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from tests.vfl.federated.rig import rounds_of, secret, trained, weights_of
from vfl.federated.learning import ModuleLearner, network, network_learner, scores_of
from vfl.federated.privacy import spent
from vfl.federated.twin import in_plain
from vfl.federated.updates import RING, averaged, clipped, encoded
from vfl.federated_terms import FederatedModel

F64 = NDArray[np.float64]
EIGHT = tuple(f"m{place}" for place in range(8))
COLUMNS = 4


def panel(seed: int, rows: int = 200) -> tuple[F64, F64]:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, COLUMNS))
    return values, values @ [1.0, -0.5, 0.25, 0.0] + draw.normal(size=rows)


def members(terms: FederatedModel, names: tuple[str, ...] = EIGHT) -> dict[str, ModuleLearner]:
    return {name: network_learner(*panel(place), terms, seed=0) for place, name in enumerate(names)}


def quality(weights: F64, terms: FederatedModel) -> float:
    """Rank correlation with the labels of rows that nobody trained on."""
    learner = network_learner(*panel(99, 2000), terms, seed=0)
    learner.load(weights)
    rows, labels = panel(99, 2000)
    return float(spearmanr(scores_of(learner.module, rows), labels).statistic)


def test_a_secure_training_of_networks_is_the_plain_one() -> None:
    terms = FederatedModel(rounds=3, hidden=4, local_epochs=1)
    names = EIGHT[:3]
    rounds = rounds_of(terms, names, len(members(terms)["m0"].weights))
    initial = members(terms)["m0"].weights
    results, _ = trained(rounds, members(terms, names), initial)
    plain = in_plain(rounds, members(terms, names), initial)
    np.testing.assert_allclose(weights_of(results["m1"]), plain, atol=1e-6, rtol=0)
    assert np.abs(plain - initial).max() > 0.01


def test_the_proximal_term_holds_weights_back_and_a_personal_head_stays_at_home() -> None:
    free, held = FederatedModel(local_epochs=5), FederatedModel(local_epochs=5, proximal=10.0)
    begun = members(free)["m0"].weights
    moved = {terms.proximal: members(terms)["m0"].train(begun, 0) - begun for terms in (free, held)}
    assert np.linalg.norm(moved[10.0]) < 0.5 * np.linalg.norm(moved[0.0])
    own = FederatedModel(personal_head=True, hidden=3)
    learner = members(own)["m0"]
    assert len(learner.weights) == COLUMNS * 3 + 3 == len(begun) - (len(begun) - 15)
    head = learner.module.get_parameter("head.weight").detach().clone()
    learner.train(learner.weights, 0)
    assert not head.equal(learner.module.get_parameter("head.weight"))


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("scaled", lambda update: 100.0 * update),
        ("sign-flipped", lambda update: -30.0 * update),
        ("backdoored", lambda update: update + 8.0 * np.eye(len(update))[COLUMNS - 1]),
    ],
)
def test_one_poisoned_member_of_eight_wrecks_a_mean_and_hardly_moves_a_robust_one(
    name: str, attack: Callable[[F64], F64]
) -> None:
    """A backdoor is a weight on a column that means nothing. The bound: 0.02 of rank correlation, 0.1 of a weight."""
    found = {}
    for rule in ("sum", "median", "trimmed"):
        terms = FederatedModel(rounds=4, hidden=0, learning_rate=0.1, rule=rule, weights="equal", trimmed=1)
        rounds = rounds_of(terms, EIGHT, COLUMNS + 1)
        learners, initial = members(terms), network_learner(*panel(0), terms, seed=0).weights
        clean = in_plain(rounds, learners, initial)
        hit = in_plain(
            rounds, learners, initial, lambda who, update: attack(update) if who == "m0" else update, bound=False
        )
        found[rule] = (quality(clean, terms) - quality(hit, terms), np.abs(hit - clean).max())
    lost, moved = found["sum"]
    assert lost > 0.1 or moved > 1.0
    for rule in ("median", "trimmed"):
        lost, moved = found[rule]
        assert lost < 0.02, rule
        assert moved < 0.1, rule


def test_an_update_is_clipped_weighed_and_comes_back() -> None:
    terms = FederatedModel(clip=2.0, most_rows=100)
    update = np.array([3.0, 4.0])
    assert np.linalg.norm(clipped(update, 2.0)) == pytest.approx(2.0)
    elements = encoded(update, 500, terms, secret("a"))
    assert int(RING.signed(elements[-1:])[0]) == 100
    np.testing.assert_allclose(averaged(elements, terms), [1.2, 1.6], atol=1e-7)
    with pytest.raises(ValueError, match="not finite"):
        clipped(np.array([np.nan]), 1.0)
    with pytest.raises(ValueError, match="no row with a label"):
        encoded(update, 0, terms, secret("a"))


def test_noise_of_the_fewest_members_is_as_agreed() -> None:
    terms = FederatedModel(noise=2.0, weights="equal", clip=0.5).agreed_for(4)
    total = np.zeros(4001, dtype=np.uint64)
    for name in "abc":
        total = RING.add(total, encoded(np.zeros(4000), 9, terms, secret(name)))
    assert np.std(averaged(total, terms) * 3) == pytest.approx(2.0 * 0.5, rel=0.05)


def test_what_is_spent_follows_from_noise_and_rounds() -> None:
    assert spent(FederatedModel()) == math.inf
    pytest.importorskip("opacus")
    terms = FederatedModel(noise=4.0, weights="equal", rounds=10)
    once, twice = spent(terms), spent(terms, trainings=2)
    # by the closed form of the Gaussian mechanism's Renyi divergence, converted as Mironov 2017 does: an upper bound
    orders = np.arange(1.1, 200, 0.1)
    bound = float(np.min(10 * orders / (2 * 4.0**2) + np.log(1e5) / (orders - 1)))
    assert 0.5 * bound < once < bound
    assert once < twice < 2 * once


def test_the_first_weights_are_everyones() -> None:
    terms = FederatedModel(hidden=3)
    made = [ModuleLearner(network(COLUMNS, terms, seed), _no_loss, 1, terms).weights for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def _no_loss(*_: object) -> None:  # type: ignore[misc]
    raise AssertionError
