"""A warm start through both roles' own code: its plaintext twin, its direction, what it opens, and going on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.errors import ConfigError
from parties.node.feature import FeatureParty
from parties.node.joint import SplitJoint
from parties.node.settings import StandingLimits
from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.faults.consortium import MemoryStore
from tests.parties.agreement.test_model_terms import agreement
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.basis import secret_rotation
from vfl.models.ridge.moments import moments_of
from vfl.models.split.initial import WARM_LENGTH, turned_columns, warm_column
from vfl.models.split.twin import initial_weights, train_in_the_clear
from vfl.protocols.moment_messages import MomentRows, OwnMoments
from vfl.protocols.opened_numbers import ClearNoise, OpenedNumbers, RowNoise
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.terms import SplitModel
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import warm_up_rows

PERIODS, ENTITIES = 6, 50
F64 = NDArray[np.float64]


def panel(values: F64) -> FeaturePanel:
    shape = values.shape[:2]
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    names = tuple(f"c{i}" for i in range(values.shape[2]))
    return FeaturePanel(names, values, np.ones(shape, dtype=bool), never, never)


@dataclass
class Consortium:
    """Nodes without processes: what a crash leaves is ``stores`` and ``charges``."""

    terms: Agreement
    stores: dict[str, MemoryStore] = field(default_factory=dict)
    charges: dict[str, list[Charge]] = field(default_factory=dict)
    attempts: int = 0

    def __post_init__(self) -> None:
        rng, shape = np.random.default_rng(7), (PERIODS, ENTITIES)
        self.values = {p.name: rng.normal(size=(*shape, len(p.columns))).clip(-8, 8) for p in self.terms.features}
        own = rng.normal(size=(*shape, 1))
        label = sum(x[..., 0] - x[..., 1] for x in self.values.values()) + own[..., 0] + rng.normal(size=shape)
        label[rng.random(shape) < 0.1] = np.nan
        known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
        self.panel = LabelPanel(panel(own), np.asarray(label), known, rng.random(shape) < 0.9)
        self.stores = {p.name: MemoryStore() for p in self.terms.parties}
        self.charges = {p.name: [] for p in self.terms.features}

    @property
    def model(self) -> SplitModel:
        assert isinstance(self.terms.model, SplitModel)
        return self.terms.model

    @property
    def warm_rows(self) -> NDArray[np.int64]:
        label = self.panel
        return warm_up_rows(self.terms.walk_forward, label.known_from, label.label, label.universe)

    def secret(self, name: str, purpose: str) -> bytes:
        return hashlib.sha256(f"{name}|{purpose}".encode()).digest()

    def context(self, name: str) -> Any:
        return SimpleNamespace(
            agreement=self.terms,
            me=name,
            run_id=self.terms.run_id,
            workers=None,
            secret=lambda purpose: self.secret(name, purpose),
            checkpoints=lambda: self.stores[name],
            boundary=lambda: None,
            settings=SimpleNamespace(limits=StandingLimits()),
        )

    def feature(self, name: str) -> Flow[Any]:
        party = FeatureParty.__new__(FeatureParty)
        party.context, party._values = self.context(name), self.values[name].reshape(PERIODS * ENTITIES, -1)
        party._stream = SecretStream(self.secret(name, f"stream/{self.attempts}"))
        party._ring = Ring(self.terms.fixed_point.ring_bits)
        party.budget = OpeningBudget(
            PERIODS * ENTITIES, self.terms.row_limit, history=self.charges[name], record=self.charges[name].append
        )
        return party._train(f"train-{self.attempts}")

    def attempt(self, relay: Any = None) -> TrainingResult:
        """One attempt at training, from what the stores hold."""
        self.attempts += 1
        label = SplitJoint(self.context("l"), self.model, self.panel)
        flows: dict[str, Flow[Any]] = {"l": label.train(), **{name: self.feature(name) for name in self.values}}
        return cast("TrainingResult", run_local(flows, relay=relay)["l"])

    def turned(self) -> list[F64]:
        """Each party's columns in its secret basis, which only a test can know."""
        found = []
        for name, x in self.values.items():
            secret = SecretStream(self.secret(name, f"rotation/{self.terms.run_id}"))
            rows = x.reshape(PERIODS * ENTITIES, -1)
            found.append(turned_columns(rows, secret_rotation(secret, x.shape[2]), self.terms.fixed_point.clip))
        return found

    def random_start(self) -> list[F64]:
        """Both sides' initial shares, added up."""
        purpose = f"initial/{self.model.seed}"
        seeds = [(self.secret(name, purpose), self.secret("l", f"{purpose}/{name}")) for name in self.values]
        columns = [x.shape[2] for x in self.values.values()]
        return initial_weights(seeds, columns, self.model.embedding_width, self.terms.fixed_point)

    def twin(self) -> TrainingResult:
        result, _ = train_in_the_clear(
            [panel(x.reshape(PERIODS, ENTITIES, -1)) for x in self.turned()],
            self.panel,
            self.model,
            self.terms.walk_forward,
            row_limit=self.terms.row_limit,
            reserved=self.terms.needed_openings - 1 - self.model.epochs,
            weights=self.random_start(),
            fixed_point=self.terms.fixed_point,
            noise=self.noise(),
        )
        return result

    def noise(self) -> ClearNoise:
        numbers = OpenedNumbers(self.terms.openings.deviation)
        purpose = f"noise/{self.terms.run_id}"
        return ClearNoise(numbers, [RowNoise(self.secret(name, purpose), numbers) for name in self.values])

    def counted(self, name: str) -> NDArray[np.int64]:
        counts = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
        for charge in self.charges[name]:
            counts[charge.rows] += 1
        return counts


def consortium(warm: str = "ridge", *, limit: int = 4, warmup: int = 3, **model: Any) -> Consortium:
    terms = {"embedding_width": 2, "hidden": 4, "members": 2, "epochs": 1, "warmup_epochs": 2, "batch_rows": 128}
    base = agreement({**terms, "warm_start": warm, **model}, limit_per_row=limit, contribution="none")
    walk = base.walk_forward.model_copy(update={"warmup": warmup})
    return Consortium(base.model_copy(update={"walk_forward": walk}))


def difference(one: TrainingResult, other: TrainingResult) -> float:
    assert np.array_equal(np.isnan(one.scores), np.isnan(other.scores))
    return float(np.nanmax(np.abs(one.scores - other.scores)) / np.nanstd(other.scores))


@pytest.fixture(scope="module")
def whole() -> Consortium:
    """One run without a crash."""
    warm = consortium()
    assert difference(warm.attempt(), warm.twin()) < 1e-3
    return warm


def test_a_warm_started_run_equals_its_twin_and_counts_the_opening(whole: Consortium) -> None:
    warm, plain = whole, whole.twin()
    expected = plain.openings.reshape(-1).copy()
    expected[warm.warm_rows] += 1
    for name in warm.values:
        np.testing.assert_array_equal(warm.counted(name), expected)
        first = warm.charges[name][0]
        assert (first.label, first.width, len(first.rows)) == ("warm-start/train-1", 1, len(warm.warm_rows))
    assert warm.counted("a").max() <= warm.terms.row_limit
    assert len(warm.warm_rows) >= warm.model.smallest_block(16, 2)
    assert difference(consortium("none").twin(), plain) > 0.05


def test_the_first_prediction_is_along_the_ridge() -> None:
    """With learning all but stopped, the first embedding column is the pooled ridge's scores plus the random start."""
    warm = consortium(source_learning_rate=1e-9)
    got = warm.attempt()
    rows = got.predictions[0].rows
    pooled = np.concatenate(warm.turned(), axis=1)
    raw = np.concatenate([x.reshape(PERIODS * ENTITIES, -1) for x in warm.values.values()], axis=1)
    both = np.concatenate([raw, warm.panel.features.rows], axis=1)[warm.warm_rows]
    label = warm.panel.label.reshape(-1)[warm.warm_rows]
    centred = both - both.mean(axis=0)
    beta = np.linalg.solve(centred.T @ centred + 300.0 * np.eye(17), centred.T @ (label - label.mean()))[:16]
    ridge = raw[rows] @ (beta * WARM_LENGTH / np.linalg.norm(beta))
    z = got.embeddings.reshape(-1, 2)[rows]
    start = pooled[rows] @ np.concatenate(warm.random_start())
    noise = warm.noise().noisy([np.zeros(z.shape)] * 3, got.predictions[0].number, rows)
    np.testing.assert_allclose(z - start - sum(noise), np.column_stack([ridge, np.zeros(len(rows))]), atol=1e-3)
    assert np.std(ridge) > 0.1


def test_a_single_feature_party_that_consented_serves_it_too() -> None:
    base = consortium(embedding_width=1).terms
    openings = base.openings.model_copy(update={"single_party": True, "limit_per_row": 3})
    alone = Consortium(base.model_copy(update={"parties": base.parties[:2], "openings": openings}))
    assert difference(alone.attempt(), alone.twin()) < 1e-3
    assert len(alone.charges["a"][0].rows) == len(alone.warm_rows)


def test_a_ridge_that_explains_nothing_adds_nothing() -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    assert warm_column(moments_of(x, np.full(40, 5.0)), 1.0, 3).tolist() == [0.0, 0.0, 0.0]
    assert np.linalg.norm(warm_column(moments_of(x, x[:, 0] * 1e-9), 1.0, 3)) == pytest.approx(WARM_LENGTH)


class Cut(Exception):
    """The link is gone."""


def cut_at(kind: str, number: int) -> Any:
    seen = [0]

    def relay(_: str, __: str, got: Message) -> Message:
        seen[0] += type(got).__name__ == kind
        if seen[0] >= number:
            raise Cut
        return got

    return relay


@pytest.mark.parametrize(("kind", "number", "again"), [("PairShares", 1, 1), ("MaskedSum", 5, 0), ("Ready", 8, 0)])
def test_it_goes_on_after_a_crash(whole: Consortium, kind: str, number: int, again: int) -> None:
    warm = consortium()
    with pytest.raises(Cut):
        warm.attempt(cut_at(kind, number))
    assert difference(warm.attempt(), whole.twin()) < 1e-3
    for name in warm.values:
        opened = [c.label for c in warm.charges[name] if c.label.startswith("warm-start/")]
        assert len(opened) == 1 + again
        extra = warm.counted(name) - whole.counted(name)
        np.testing.assert_array_equal(np.flatnonzero(extra), warm.warm_rows if again else [])


def test_a_block_opened_again_is_of_the_same_rows_and_within_the_budget() -> None:
    warm = consortium()
    with pytest.raises(Cut):
        warm.attempt(cut_at("PairShares", 1))

    def fewer(_: str, __: str, got: Message) -> Message:
        return MomentRows(got.block, got.rows[:-4]) if isinstance(got, MomentRows) else got

    with pytest.raises(RemoteProtocolError, match="other rows than before"):
        warm.attempt(fewer)
    tight = consortium()
    with pytest.raises(RemoteProtocolError, match=r"asked for more than it may have: .* which is the limit"):
        for _ in range(tight.terms.row_limit + 1):
            with pytest.raises(Cut):
                tight.attempt(cut_at("PairShares", 1))


def test_what_opens_is_turned() -> None:
    warm, own = consortium(), []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, OwnMoments):
            own.append(got)
        return got

    warm.attempt(relay)
    assert len(own) == 3
    raw = warm.values["a"].reshape(PERIODS * ENTITIES, -1)[warm.warm_rows]
    turned = warm.turned()[0][warm.warm_rows]
    assert np.abs(np.diag(raw.T @ raw) / np.diag(turned.T @ turned) - 1).max() > 1e-2
    np.testing.assert_allclose(np.linalg.eigvalsh(raw.T @ raw), np.linalg.eigvalsh(turned.T @ turned), rtol=1e-6)


def test_too_few_rows_are_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"walk_forward\.warmup"):
        consortium(warmup=1).attempt()
    small = consortium().terms
    fixed = small.fixed_point.model_copy(update={"ring_bits": 36})
    with pytest.raises(ValueError, match="ring_bits"):
        Consortium(small.model_copy(update={"fixed_point": fixed})).attempt()
