"""Classification and static data: losses against oracles, sealed runs against the pooled scores."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from psi.flow import Flow, run_alone, run_local
from tests.places import SHARED_DATA
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features
from vfl.arithmetic.share import Share
from vfl.models.split.feature import serve_source
from vfl.models.split.initial import initial_share
from vfl.models.split.label import SealedSource
from vfl.models.split.static import StaticResult, train_static
from vfl.models.split.top import LabelHead
from vfl.models.split.twin import PlainSource, initial_weights
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import RingShare
from vfl.terms import FixedPoint, SplitModel
from vfl.walk.schedule import static_steps

FIXED = FixedPoint()
RING = Ring(FIXED.ring_bits)
RUN = hashlib.sha256(b"static").hexdigest()

F64 = NDArray[np.float64]


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 30),
    classes=st.integers(2, 5),
    members=st.integers(1, 3),
    hidden=st.sampled_from([0, 3]),
    number=st.integers(0, 10**6),
)
def test_the_update_lowers_the_cross_entropy_of_sklearn(
    rows: int, classes: int, members: int, hidden: int, number: int
) -> None:
    rng = np.random.default_rng(number)
    loss = "logistic" if classes == 2 else "softmax"
    terms = SplitModel(embedding_width=2, hidden=hidden, members=members, loss=loss, classes=classes, top_steps=2)
    head = LabelHead(terms, 1)
    z, own = rng.normal(size=(rows, 2)), rng.normal(size=(rows, 1))
    label = rng.integers(0, classes, rows).astype(np.float64)
    gradient = head.train_batch(z, own, label, np.zeros(rows, dtype=np.int64))
    assert gradient.shape == (rows, 2)
    assert np.abs(gradient).max() <= head.gradient_bound

    def entropy(at: F64) -> float:
        scores = head.predict(at, own)
        assert scores.shape == ((rows,) if classes == 2 else (rows, classes))
        scores = np.column_stack([np.zeros(rows), scores]) if classes == 2 else scores
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        return float(metrics.log_loss(label, chance, labels=np.arange(classes)))

    if members == 1:
        assert head.loss == pytest.approx(entropy(z), rel=1e-6)
    if np.abs(gradient).max() > 1e-6:
        assert entropy(z - 1e-4 * gradient / np.abs(gradient).max()) < entropy(z) + 1e-12


def test_labels_that_are_no_class_are_refused() -> None:
    head = LabelHead(SplitModel(embedding_width=1, loss="softmax", classes=3), 0)
    with pytest.raises(ValueError, match="from 0 to 2"):
        head.train_batch(np.ones((2, 1)), np.zeros((2, 0)), np.array([0.0, 3.0]), np.zeros(2, dtype=np.int64))


def test_static_steps_pass_over_every_row_and_respect_the_limit() -> None:
    terms = SplitModel(epochs=3, batch_rows=7)
    steps = list(static_steps(terms, 50, 4))
    assert [s.number for s in steps] == list(range(len(steps)))
    counts = np.zeros(50, dtype=int)
    for step in steps:
        assert len(np.unique(step.rows)) == len(step.rows)
        counts[step.rows] += 1
    assert (counts == 4).all()
    assert np.concatenate([s.rows for s in steps if s.kind == "predict"]).tolist() == list(range(50))
    with pytest.raises(ValueError, match="limit_per_row"):
        next(static_steps(terms, 50, 3))
    with pytest.raises(ValueError, match="periods"):
        next(static_steps(terms.model_copy(update={"warm_start": "ridge"}), 50, 4))


def sealed(features: dict[str, F64], own: F64, label: F64, terms: SplitModel, limit: int) -> StaticResult:
    """Train through the sealed layer, all parties in this process, every byte encrypted as between machines."""
    names, total = list(features), sum(x.shape[1] for x in features.values())
    steps = tuple(static_steps(terms, len(label), limit))

    columns = {n: x.shape[1] for n, x in features.items()}

    def share(side: str, name: str) -> RingShare:
        shape = (features[name].shape[1], terms.embedding_width)
        return Share(RING, RING.wrap(initial_share(seed(f"{side}/{name}"), shape, FIXED, total)))

    def label_flow() -> Flow[StaticResult]:
        session = LabelSession(
            "label", "label", columns, FIXED, "bfv-8192", "train-1", single_party=len(names) == 1,
            key=KeyHolder(Context("bfv-8192", FIXED.ring_bits)),
        )  # fmt: skip
        source = SealedSource(
            session,
            {n: share("v", n) for n in names},
            SecretStream(seed("label")),
            predictions=[s.number for s in steps if s.kind == "predict"],
        )
        yield from source.start()
        result = yield from train_static(source, LabelHead(terms, own.shape[1]), steps, own, label)
        yield from source.finish()
        return result

    def feature_flow(me: str) -> Flow[Any]:
        stream = SecretStream(seed(f"stream/{me}"))
        masks = yield from agree_masks(me, names, RUN, RING, stream)
        session = FeatureSession(
            me, "label", columns, FIXED, "bfv-8192", "train-1", single_party=len(names) == 1, masks=masks,
            budget=OpeningBudget(len(label), limit), stream=stream,
        )  # fmt: skip
        encoded = encode_features(features[me], FIXED.feature_bits, FIXED.clip)
        yield from serve_source(session, encoded, share("u", me))

    result = run_local({"label": label_flow()} | {n: feature_flow(n) for n in names})["label"]
    assert isinstance(result, StaticResult)
    return result


def plain(features: dict[str, F64], own: F64, label: F64, terms: SplitModel, limit: int) -> StaticResult:
    seeds = [(seed(f"u/{n}"), seed(f"v/{n}")) for n in features]
    weights = initial_weights(seeds, [x.shape[1] for x in features.values()], terms.embedding_width, FIXED)
    rounded = [np.ldexp(np.rint(np.ldexp(x, FIXED.feature_bits)), -FIXED.feature_bits) for x in features.values()]
    source = PlainSource(rounded, weights, width=terms.embedding_width)
    steps = tuple(static_steps(terms, len(label), limit))
    flow = train_static(source, LabelHead(terms, own.shape[1]), steps, own, label)
    result = run_alone(flow)
    assert isinstance(result, StaticResult)
    return result


def prepared(values: F64) -> F64:
    """One party's columns, standardised, clipped and whitened at home."""
    x = np.clip((values - values.mean(axis=0)) / values.std(axis=0), -8, 8)
    x = x - x.mean(axis=0)
    size, direction = np.linalg.eigh(x.T @ x / len(x))
    kept = size > 1e-6 * size.max()
    return np.clip(x @ (direction[:, kept] / np.sqrt(size[kept])), -8, 8)


def split_set(name: str, hosts: tuple[str, ...], label: str = "y") -> tuple[dict[str, F64], F64, F64]:
    folder = SHARED_DATA / "fate_hetero"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    guest = pd.read_csv(folder / f"{name}_guest.csv.gz")
    key = guest.columns[0]
    features = {}
    for host in hosts:
        table = pd.read_csv(folder / f"{name}_{host}.csv.gz").set_index(key).loc[guest[key]]
        features[host.replace("_", "")] = prepared(table.to_numpy(dtype=np.float64))
    own = prepared(guest.drop(columns=[key, label]).to_numpy(dtype=np.float64))
    return features, own, guest[label].to_numpy(dtype=np.float64)


def expected(name: str) -> dict[str, float]:
    recipe = json.loads((SHARED_DATA / "fate_hetero" / "expected_metrics.json").read_text())["fate_recipe"]
    found: dict[str, float] = recipe[name]
    return found


def measured(label: F64, scores: F64) -> dict[str, float]:
    chosen = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)
    return {
        "accuracy": metrics.accuracy_score(label, chosen),
        "recall_macro": metrics.recall_score(label, chosen, average="macro"),
        "precision_macro": metrics.precision_score(label, chosen, average="macro"),
    } | ({"auc": metrics.roc_auc_score(label, scores)} if scores.ndim == 1 else {})


LINEAR: dict[str, Any] = {"hidden": 0, "members": 1, "ic_weight": 0.0}
CASES = {
    # within 0.6 of the feature columns: 11 of 20
    "breast_lr": ("breast_hetero", LINEAR | {
        "loss": "logistic", "embedding_width": 1, "epochs": 10, "batch_rows": 64, "source_learning_rate": 0.1,
        "source_decay": 0.0, "top_learning_rate": 0.03, "top_decay": 0.0,
    }),
    # within 0.6 of the feature columns: 5 of 10
    "default_credit_lr": ("default_credit_hetero", LINEAR | {
        "loss": "logistic", "embedding_width": 1, "epochs": 4, "batch_rows": 512, "source_learning_rate": 0.03,
        "source_decay": 0.05, "top_learning_rate": 0.03, "top_decay": 0.01, "weight_decay": 0.05, "top_steps": 1,
    }),
    # a loud exception: 32 linear forms of 9 columns; four classes do not fit the budget of so few
    "vehicle_lr": ("vehicle_scale_hetero", LINEAR | {
        "loss": "softmax", "classes": 4, "embedding_width": 4, "epochs": 7, "batch_rows": 64,
        "source_learning_rate": 0.05, "source_decay": 0.0, "top_learning_rate": 0.01, "top_decay": 0.05,
        "weight_decay": 1.0,
    }),
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("case", CASES)
def test_sealed_classification_matches_the_pooled_scores(case: str) -> None:
    name, options = CASES[case]
    terms = SplitModel(**options)
    features, own, label = split_set(name, ("host",))
    result = sealed(features, own, label, terms, limit=terms.epochs + 1)
    wanted, got = expected(case), measured(label, result.scores)
    for metric, value in got.items():
        assert value == pytest.approx(wanted[metric], rel=wanted["relative_tol"]), metric
    twin = plain(features, own, label, terms, limit=terms.epochs + 1)
    assert np.abs(result.scores - twin.scores).max() < 1e-3 * twin.scores.std()


@pytest.mark.data
def test_sealed_regression_of_three_parties_matches_the_pooled_score() -> None:
    features, own, label = split_set("motor_hetero", ("host_1", "host_2"), "motor_speed")
    terms = SplitModel(
        **LINEAR, embedding_width=1, epochs=4, batch_rows=64, source_learning_rate=0.2, source_decay=0.0,
        top_learning_rate=0.03, top_decay=0.05, weight_decay=0.0, top_steps=3,
    )  # fmt: skip
    result = sealed(features, own, label, terms, limit=5)
    wanted = expected("motor_linr")
    assert metrics.r2_score(label, result.scores) == pytest.approx(wanted["r2"], rel=wanted["relative_tol"])
    twin = plain(features, own, label, terms, limit=5)
    assert np.abs(result.scores - twin.scores).max() < 1e-3 * twin.scores.std()
