"""What a sealed run over a large panel costs: ``python -m benchmarks.panel_cost``.

Measured: the processor time of every party in a training step and in a prediction of one period's rows, each party in
a process of its own over mutual TLS. Computed from it, and said so: a whole run of one training step and one prediction
a day. On two cores everybody's work shares them. On more, a feature party spreads its products over its part of the
cores (``[compute]``) and the label party, which holds the keys, works in one process; nothing overlaps in this count.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parties.bench.session import RUN, Part, run_session
from psi.flow import Flow, Role
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

__all__ = ["Panel", "main", "per_step"]

FIXED, LABEL = FixedPoint(), "label"


@dataclass(frozen=True)
class Panel:
    """parties: feature parties of ``columns`` columns each; own: the label party's. steps: of a day."""

    entities: int
    days: int
    parties: int
    columns: int
    own: int
    repeats: int

    @property
    def terms(self) -> SealedModel:
        return SealedModel()

    @property
    def members(self) -> Members:
        return Members(LABEL, "p0", {f"p{i}": self.columns for i in range(self.parties)}, self.own)

    @property
    def rows(self) -> int:
        return max(self.terms.batch_rows, self.entities)


def per_step(panel: Panel, kind: str) -> Mapping[str, float]:
    """Processor seconds of each party in one step of this kind, keys and start left out."""
    arguments = {"panel": panel, "kind": kind}
    parts = {LABEL: Part(Role.LABEL, _label_party, arguments)}
    parts |= {name: Part(Role.FEATURE, _feature_party, arguments) for name in panel.members.features}
    return {name: float(found.result) for name, found in run_session(parts).items()}


def _drawn(panel: Panel, columns: int) -> SealedColumns:
    return SealedColumns(np.random.default_rng(1).standard_normal((panel.rows, columns)), panel.terms, FIXED)


def _label_party(name: str, panel: Panel, kind: str) -> Flow[float]:
    del name
    held, terms = SealedLabel.columns_held(panel.members), panel.terms
    weights = {n: sealed_start(os.urandom(32), count, terms, panel.members.columns) for n, count in held.items()}
    keys = LabelKeys(coefficient_key(), slot_key())
    side = SealedLabel(panel.members, _drawn(panel, panel.own), weights, terms, FIXED, keys, session="panel-1")
    labels = np.random.default_rng(0).standard_normal(panel.rows)
    yield from side.start()
    began = time.process_time()
    for number in range(panel.repeats):
        if kind == "train":
            rows = np.arange(terms.batch_rows, dtype=np.int64)
            yield from side.train(Step(number, "train", 0, rows, panel.rows), labels[rows])
        else:
            yield from side.predict(Step(number, "predict", 0, np.arange(panel.entities, dtype=np.int64)))
    seconds = time.process_time() - began
    yield from side.finish()
    return seconds / panel.repeats


def _feature_party(name: str, panel: Panel, kind: str) -> Flow[float]:
    del kind
    members, terms, stream = panel.members, panel.terms, SecretStream(os.urandom(32))
    columns, total = _drawn(panel, panel.columns), panel.members.columns
    if name == members.anchor:
        held = SealedAnchor.columns_held(members)
        weights = {n: sealed_start(os.urandom(32), count, terms, total) for n, count in held.items()}
        budget = OpeningBudget(panel.rows, panel.repeats)
        anchor = SealedAnchor(
            members, columns, weights, terms, FIXED, coefficient_key(), budget, stream, session="panel-1"
        )  # fmt: skip
        began = time.process_time()
        yield from anchor.serve()
    else:
        masks = yield from agree_masks(name, members.others, RUN, PRIME_RING, stream)
        weight = sealed_start(os.urandom(32), panel.columns, terms, total)
        party = SealedFeature(
            name, members, columns, weight, terms, FIXED, masks, stream, session="panel-1"
        )  # fmt: skip
        began = time.process_time()
        yield from party.serve()
    return (time.process_time() - began) / panel.repeats


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=3000)
    parser.add_argument("--days", type=int, default=2500)
    parser.add_argument("--parties", type=int, default=3, help="feature parties")
    parser.add_argument("--columns", type=int, default=12, help="of each feature party")
    parser.add_argument("--own", type=int, default=4, help="columns of the label party")
    parser.add_argument("--repeats", type=int, default=4, help="steps of each kind that are measured")
    panel = Panel(**vars(parser.parse_args(arguments)))
    kinds = {kind: per_step(panel, kind) for kind in ("train", "predict")}
    day = dict.fromkeys(kinds["train"], 0.0)
    for kind, spent in kinds.items():
        told = ", ".join(f"{name} {1000 * seconds:.0f}" for name, seconds in spent.items())
        print(f"measured, processor ms a step ({kind}): {told}; together {1000 * sum(spent.values()):.0f}")
        day = {name: day[name] + seconds for name, seconds in spent.items()}
    print(f"a run of {panel.entities} entities x {panel.days} days, computed from these:")
    print(f"   2 cores, shared by everybody: {panel.days * sum(day.values()) / 2 / 3600:.2f} h")
    for cores in (16, 64):
        each = cores // (panel.parties + 1)
        widest = max(seconds for name, seconds in day.items() if name != LABEL)
        seconds = panel.days * (day[LABEL] + widest / each)
        print(f"  {cores} cores, {each} to a party: {seconds / 3600:.2f} h")


if __name__ == "__main__":
    main()
