"""Product columns through the nodes' own code: a cut changes nothing, and other halves are not gone on with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.product_terms import product_pairs
from parties.errors import DataError
from parties.node.sealed_feature import SealedFeatureParty
from psi.flow import Message
from tests.faults.consortium import Crash
from tests.faults.test_resume import cut
from tests.faults.test_sealed_run import MODEL, TERMS, Sealed, check
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.node.test_warm_start import ENTITIES, PERIODS
from tests.vfl.models.sealed.product_rig import halves_of

PRODUCTS = {"screen": "ab" * 32, "formulas": ["a#0 x b#1", "c#2 x a#0"]}
WITH = agreement(MODEL | {"products": PRODUCTS}, contribution="none", limit_per_row=1).model_copy(
    update={"walk_forward": TERMS.walk_forward}
)


@dataclass
class Multiplied(Sealed):
    """Halves as an owner would make them of its terminals."""

    moved: int = 0

    def halves(self, name: str) -> dict[str, NDArray[np.int64]]:
        """Of the run's periods, and of one after them."""
        pairs = product_pairs(self.terms)
        made = halves_of(pairs, (PERIODS + 1) * ENTITIES)
        return {pair.name: made[pair.name, name] + self.moved for pair in pairs if name in pair.owners}

    def party(self, name: str) -> SealedFeatureParty:
        party = super().party(name)
        party._halves = {pair: half[: PERIODS * ENTITIES] for pair, half in self.halves(name).items()}
        return party


def test_a_cut_changes_nothing_and_other_halves_are_not_gone_on_with() -> None:
    count = [0]

    def relay(sender: str, receiver: str, message: Message) -> Message:
        count[0] += 1
        return message

    whole, sealed = Multiplied(WITH).attempt(relay), Multiplied(WITH)
    with pytest.raises(Crash):
        sealed.attempt(cut(count[0] // 2))
    moved = Multiplied(WITH, moved=1)
    moved.stores = sealed.stores
    with pytest.raises(DataError, match="this node's data changed"):
        moved.attempt()
    check(sealed, sealed.attempt(), whole)
    known = {"session", "train", "rows", "data", "scores", "check"}
    for store in sealed.stores.values():
        for arrays in store.kept.values():
            kept = {name: array for name, array in arrays.items() if name not in known}
            assert all(name.startswith(("weight/", "speed/")) and len(array) <= 6 for name, array in kept.items())
