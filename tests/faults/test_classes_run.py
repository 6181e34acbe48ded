"""A run on static data of three classes through the nodes' own code: its twins, what is counted, and a cut run."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.node.classes_feature import ClassesFeatureParty
from parties.node.classes_label import ClassesJoint
from parties.node.joint import joint_model
from parties.node.settings import StandingLimits
from parties.node.tree_splits import importance_of
from parties.node.trees_label import candidates_purpose
from psi.flow import Flow, Message, run_local
from tests.faults.consortium import Crash, MemoryStore
from tests.faults.test_resume import cut
from tests.parties.agreement.test_static_terms import agreed
from tests.parties.agreement.test_text import party
from tests.parties.node.test_warm_start import panel
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import LabelPanel
from vfl.models.classes.rest import against_the_rest, class_name
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.messages import Scores
from vfl.models.sealed.twin import integer_twin
from vfl.models.trees.linear_start import linear_model, linear_scores
from vfl.models.trees.twin import trees_twin
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.tree_terms import TreesModel
from vfl.walk.result import TrainingResult

CLASSES, ENTITIES, TRAINED = 3, 90, 60
F64 = NDArray[np.float64]
STATIC = {"static": {"label": "classes", "classes": CLASSES}, "parties": [party("bank", "label", 2), party("sat")]}
SEALED = agreed(**STATIC, model={"kind": "sealed", "anchor": "sat", "batch_rows": 64, "warmup_steps": 4, "alpha": 5.0})
LINE = {"init_score": "linear", "init_alpha": 5.0}
TREES = {"kind": "trees", "anchor": "sat", "trees": 2, "depth": 2, "candidates": 2, "smallest_leaf": 5, "reg_lambda": 2}
GROWN = agreed(**STATIC, model=TREES | LINE)


@dataclass
class Classes:
    """Two nodes without processes. What a crash leaves is ``parts`` and ``charges``."""

    terms: Any
    parts: dict[tuple[str, str], MemoryStore] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)
    attempts: int = 0

    def __post_init__(self) -> None:
        rng, widths = np.random.default_rng(5), {p.name: len(p.columns) for p in self.terms.parties}
        drawn = {name: rng.normal(size=(1, ENTITIES, width)) for name, width in widths.items()}
        self.values = {name: np.repeat(x, 2, axis=0) for name, x in drawn.items()}
        score = drawn["sat"][0, :, 0] + drawn["bank"][0, :, 0] + 0.3 * rng.normal(size=ENTITIES)
        number = np.digitize(score, np.quantile(score, [1 / 3, 2 / 3])).astype(float)
        tested = np.arange(ENTITIES) >= TRAINED
        universe = np.stack([~tested, tested])
        known = np.stack([np.where(tested, 2, 1), np.full(ENTITIES, 2)])
        own = panel(self.values["bank"])
        self.panel = LabelPanel(own, np.where(universe, number, np.nan), known, universe, scale=(0.0, 1.0))
        self.truth, self.folder = number, Path(tempfile.mkdtemp(prefix="classes-"))
        weakref.finalize(self, shutil.rmtree, self.folder, True)

    def secret(self, name: str, purpose: str) -> bytes:
        return hashlib.sha256(f"{name}|{purpose}".encode()).digest()

    def context(self, name: str) -> Any:
        return SimpleNamespace(
            agreement=self.terms,
            me=name,
            run_id=self.terms.run_id,
            workers=None,
            secret=lambda purpose: self.secret(name, purpose),
            part_checkpoints=lambda part: self.parts.setdefault((name, part), MemoryStore()),
            boundary=lambda: None,
            run_folder=self.folder / name,
            settings=SimpleNamespace(limits=StandingLimits()),
        )

    def label(self) -> ClassesJoint:
        found = joint_model(self.context("bank"), self.panel)
        assert isinstance(found, ClassesJoint)
        return found

    def party(self) -> ClassesFeatureParty:
        made = ClassesFeatureParty.__new__(ClassesFeatureParty)
        made.context, made._values = self.context("sat"), self.values["sat"].reshape(2 * ENTITIES, -1)
        made._missing, made._entities = None, ENTITIES
        made._stream = SecretStream(self.secret("sat", f"stream/{self.attempts}"))
        made.budget = OpeningBudget(
            2 * ENTITIES, self.terms.row_limit, history=self.charges, record=self.charges.append, closed=made._closed
        )
        return made

    def attempt(self, relay: Any = None) -> TrainingResult:
        self.attempts += 1
        served = self.party()._served_through(f"train-{self.attempts}")
        flows: dict[str, Flow[Any]] = {"bank": self.label().train(), "sat": served}
        return cast("TrainingResult", run_local(flows, relay=relay)["bank"])

    def weights(self, model: Any) -> NDArray[np.int64]:
        total, purpose = sealed_members(self.terms).columns, self.terms.initial_purpose
        parts = []
        for name in ("sat", "bank"):
            seeds = [self.secret(holder, f"sealed/{purpose}/{name}") for holder in ("sat", "bank")]
            parts.append(sum(sealed_draw(seed, self.values[name].shape[-1], model, total) for seed in seeds))
        return np.concatenate(parts)

    def twin(self, number: int) -> F64:
        """Estimates (n,) of a class's model, trained by itself in plain numbers."""
        model, walk, fixed = self.terms.model, self.terms.walk_forward, self.terms.fixed_point
        one = against_the_rest(self.panel, number)
        if isinstance(model, TreesModel):
            columns = {name: self.values[name].reshape(2 * ENTITIES, -1) for name in ("sat", "bank")}
            purpose = candidates_purpose(self.terms.initial_purpose, class_name(number))
            seeds = {name: self.secret(name, purpose) for name in columns}
            weight = self.weights(linear_model(model))
            start = linear_scores(list(columns.values()), one, model, walk, fixed, weight)
            found = trees_twin(columns, one, model, walk, seeds, start=start, deal=False)[0]
        else:
            found = integer_twin([panel(self.values["sat"])], one, model, walk, fixed, self.weights(model))
        assert one.scale is not None
        return one.scale[0] + one.scale[1] * found[1]


def check(made: Classes, result: TrainingResult) -> None:
    """Every test row and no other has an estimate of each class, as the twins say, and the anchor counted each."""
    estimates = result.embeddings[1]
    assert np.isfinite(estimates).all(axis=1).tolist() == (np.arange(ENTITIES) >= TRAINED).tolist()
    assert np.isnan(result.embeddings[0]).all()
    for number in range(CLASSES):
        assert np.nanmax(np.abs(estimates[:, number] - made.twin(number))) <= 1e-2
    assert np.array_equal(result.scores[1][TRAINED:], estimates[TRAINED:].argmax(axis=1))
    assert (result.scores[1][TRAINED:] == made.truth[TRAINED:]).mean() >= 0.5
    counts = np.zeros(2 * ENTITIES, dtype=np.int64)
    for charge in made.charges:
        counts[charge.rows] += 1
    assert counts.tolist() == [0] * (ENTITIES + TRAINED) + [CLASSES] * (ENTITIES - TRAINED)


@pytest.mark.parametrize("terms", [SEALED, GROWN], ids=["network", "trees from a line"])
def test_a_run_is_a_model_of_each_class_against_the_rest(terms: Any) -> None:
    made = Classes(terms)
    result = made.attempt()
    check(made, result)
    restored = made.label().restore()
    assert restored is not None
    assert np.array_equal(restored.embeddings[1][TRAINED:], result.embeddings[1][TRAINED:])
    made.party().restore()
    alone = made.label().estimates_alone()
    assert np.isfinite(alone[1][TRAINED:]).all()
    if isinstance(terms.model, TreesModel):
        grown = importance_of(made.folder / "bank", "bank", tuple(terms.party("bank").columns))
        assert grown.trees == 2 * CLASSES, "every class's trees count"


def test_a_cut_at_any_message_opens_no_score_twice() -> None:
    made, after, result, opened = Classes(SEALED), 60, None, set[tuple[str, int, bytes]]()
    while result is None:
        crash = cut(after)

        def relay(sender: str, receiver: str, message: Message, crash: Any = crash) -> Message:
            if isinstance(message, Scores):
                opened.add((receiver, message.step, message.values))
            return cast("Message", crash(sender, receiver, message))

        try:
            result = made.attempt(relay)
        except Crash:
            after += 90
    assert made.attempts > 2
    check(made, result)
    assert len(opened) == CLASSES
