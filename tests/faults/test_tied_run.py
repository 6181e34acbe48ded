"""A group with one head through the nodes' own code: its twin, a cut, the search of configurations, and its pay."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms
from parties.agreement.sealed_terms import sealed_members
from parties.node.contribution_evidence import SentParts
from parties.node.sealed_serving import tied_purpose
from psi.flow import Flow, Message, run_local
from tests.faults.consortium import Crash
from tests.faults.test_resume import cut
from tests.faults.test_sealed_run import VALUED, Sealed
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, panel
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.tied import TiedSpeed, TiedStart, group_seed
from vfl.models.sealed.twin import integer_twin
from vfl.protocols.committed_values import arrays_digest
from vfl.terms import SealedModel

MEMBERS = ("a", "c", "d")


def tied_terms() -> Agreement:
    """The anchor b beside three members with four columns; a is their lead."""
    label, first, anchor, _ = VALUED.parties
    shared = [first.model_copy(update={"name": name, "columns": tuple("abcd")}) for name in MEMBERS]
    group = GroupTerms(name="g", members=MEMBERS, head="tied", absent="zeros", threshold=3)
    parties = (label, shared[0], anchor, *shared[1:])
    return VALUED.model_copy(update={"parties": parties, "groups": (group,)})


@dataclass
class Tied(Sealed):
    """Each member has every third entity, and zeros elsewhere; the label is of all of them alike."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for place, name in enumerate(MEMBERS):
            self.values[name] = self.values[name] * (np.arange(ENTITIES) % 3 == place)[:, None]
        self.stores["d"], self.charges["d"] = type(self.stores["a"])(), []

    def twin_scores(self) -> NDArray[np.float64]:
        model, purpose = cast("SealedModel", self.terms.model), self.terms.initial_purpose
        members, names = sealed_members(self.terms), list(self.values)
        seed = group_seed({name: self.secret(name, tied_purpose(self.terms, MEMBERS, name)) for name in MEMBERS})
        seeds = [
            (self.secret("l", f"sealed/{purpose}/a"), seed),
            (self.secret("l", f"sealed/{purpose}/b"), self.secret("b", f"sealed/{purpose}/b")),
            (self.secret("l", f"sealed/{purpose}/l"), self.secret("b", f"sealed/{purpose}/l")),
        ]
        weight = [
            sum(sealed_draw(seed, count, model, members.columns) for seed in pair)
            for pair, count in zip(seeds, [4, members.features["b"], members.own], strict=True)
        ]
        sides, heads = [panel(self.values[name]) for name in names], [members.head(name) for name in names]
        fixed, walk = self.terms.fixed_point, self.terms.walk_forward
        return integer_twin(sides, self.panel, model, walk, fixed, np.concatenate(weight), heads)


def test_a_tied_run_is_its_twin_and_goes_on_after_a_cut() -> None:
    whole, kinds = Tied(tied_terms()), list[type[Message]]()

    def relay(sender: str, receiver: str, message: Message) -> Message:
        kinds.append(type(message))
        return message

    result, twin = whole.attempt(relay), whole.twin_scores()
    assert whole.panel.features.rows.shape == (PERIODS * ENTITIES, 1)
    assert np.array_equal(np.isnan(twin), np.isnan(result.scores))
    assert np.nanmax(np.abs(twin - result.scores)) <= 5e-3 * np.nanstd(twin)
    assert kinds.count(TiedStart) == 6
    told = [place for place, kind in enumerate(kinds) if kind is TiedSpeed]
    assert len(told) == 2 * sum(step.kind == "train" for step in result.steps)
    again = Tied(tied_terms())
    with pytest.raises(Crash):
        again.attempt(cut(told[3]))  # the lead has the next share, and not every other member
    found = again.attempt()
    assert again.attempts == 2
    assert np.nanmax(np.abs(found.scores - result.scores)) <= 5e-3 * np.nanstd(twin)
    assert set(again.party("c").last_weights()[1]) == {"a"}
    shares = [again.party(name).last_weights()[1]["a"] for name in MEMBERS]
    assert all(np.array_equal(share, shares[0]) for share in shares)


@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_each_member_is_a_player_of_its_own() -> None:
    run = Tied(tied_terms())
    scores = run.attempt().scores
    run.attempts += 1
    sent = {name: SentParts("value-2") for name in run.values}
    flows: dict[str, Flow[Any]] = {name: run.party(name)._coalitions("value-2", sent[name]) for name in run.values}
    label = run.label().coalition_ics(
        scores, "value-2", lambda share: arrays_digest(bytes(32), {"ours": share}), lambda *heard: None
    )
    found = cast("dict[frozenset[str], NDArray[np.float64]]", run_local({"l": label, **flows})["l"])
    assert len(found) == 16, "each of four feature parties is in or out"
    everyone, without = found[frozenset(run.values)], found[frozenset("abc")]
    assert (np.abs(everyone - without) > 1e-3)[np.isfinite(everyone)].any(), "d's rows count by themselves"
