"""The sealed network on static data of two parties: ``python -m benchmarks.a9a DIR [--passes 4]``.

DIR holds FedTree's vertical split of a9a. Every training row and every row of the test file goes through the
encrypted protocol: the label party with its 62 columns and a feature party with 61, which is the anchor, each in a
process of its own over mutual TLS. ``--twin`` computes the same in plain integers instead, in seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._a9a import A9a, load_a9a
from parties.bench.session import Part, run_session
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Role
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.models.sealed.twin import IntegerTwin, run_twin
from vfl.models.sealed.walk import sealed_static
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.cycles import cyclic_static

__all__ = ["auc", "encrypted", "in_plain_integers", "main"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

TERMS, FIXED = SealedModel(), FixedPoint()
LABEL, FEATURE = "label", "feature"


def auc(data: A9a, scores: F64) -> float:
    """Area under the ROC curve over the test file."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(data.classes[data.tested], scores[data.tested]))


def in_plain_integers(data: A9a, passes: int) -> F64:
    """Scores (rows,) of the integer twin from random initial weights, NaN in the training rows."""
    whole = np.concatenate(data.sides, axis=1)
    columns = whole.shape[1]
    weight = sum(sealed_draw(os.urandom(32), columns, TERMS, columns) for _ in range(2))
    steps = tuple(cyclic_static(TERMS, data.trained, passes, data.tested))
    return run_twin(IntegerTwin(whole, np.asarray(weight), TERMS, FIXED), steps, lambda step: data.label[step.rows])


def encrypted(folder: Path, passes: int) -> F64:
    """The same through the protocol, both parties in processes of their own."""
    arguments = {"folder": folder, "passes": passes}
    parts = {
        LABEL: Part(Role.LABEL, _label_party, arguments),
        FEATURE: Part(Role.FEATURE, _feature_party, arguments),
    }
    scores: F64 = run_session(parts)[LABEL].result
    return scores


def _label_party(name: str, folder: Path, passes: int) -> Flow[F64]:
    del name
    data = load_a9a(folder, TERMS, FIXED)
    members = _members(data)
    side = SealedLabel(
        members, data.sides[1], _weights(members, SealedLabel.columns_held(members)), TERMS, FIXED,
        LabelKeys(coefficient_key(), slot_key()), session="a9a-1",
    )  # fmt: skip
    steps = tuple(cyclic_static(TERMS, data.trained, passes, data.tested))
    return (yield from sealed_static(side, steps, data.label))


def _feature_party(name: str, folder: Path, passes: int) -> Flow[None]:
    del name, passes
    data = load_a9a(folder, TERMS, FIXED)
    members = _members(data)
    side = SealedAnchor(
        members, data.sides[0], _weights(members, SealedAnchor.columns_held(members)), TERMS, FIXED,
        coefficient_key(), OpeningBudget(len(data.classes), 1), SecretStream(os.urandom(32)),
        session="a9a-1", supply=PreparedZeros,
    )  # fmt: skip
    yield from side.serve()


def _members(data: A9a) -> Members:
    return Members(LABEL, FEATURE, {FEATURE: data.sides[0].shape[1]}, data.sides[1].shape[1])


def _weights(members: Members, held: dict[str, int]) -> dict[str, U64]:
    drawn = {name: sealed_draw(os.urandom(32), count, TERMS, members.columns) for name, count in held.items()}
    return {name: PRIME_RING.wrap(values) for name, values in drawn.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where a9a_vertical_p0.libsvm.gz and its kin are")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--twin", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.folder is None:
        print("no data: name the folder of FedTree's vertical split of a9a")
        return
    try:
        data = load_a9a(asked.folder, TERMS, FIXED)
    except FileNotFoundError as error:
        print(error)
        sys.exit(1)
    began = time.monotonic()
    made = in_plain_integers(data, asked.passes) if asked.twin else encrypted(asked.folder, asked.passes)
    how = "in plain integers" if asked.twin else "encrypted, between two processes"
    print(
        f"{data.trained:,} training rows, {asked.passes} passes, {len(data.tested):,} test rows, {how}: "
        f"AUC {auc(data, made):.4f} on the test file, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
