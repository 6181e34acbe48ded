"""A coordinator of secure sums that tells members different things: one member's numbers alone, and what stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.node.member_rows import training_seed
from psi.flow import Flow, PeerLost, RemoteProtocolError, Send, UnattributedError
from tests.vfl.federated.rig import COORDINATOR, RUN, Fixed, play, rounds_of, secret, trained
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.shamir import joined
from vfl.federated import secure_sum
from vfl.federated.group import encoder_seed
from vfl.federated.messages import SumAgreed, SumHeard, SumIncluded, SumPart, SumStart, SumSurvivors, SumUnmask
from vfl.federated.rounds import Rounds
from vfl.federated.secure_sum import SumTerms, add, next_of, total
from vfl.federated.updates import RING
from vfl.federated.valuation import Judged, Plan, tell_value
from vfl.federated_terms import FederatedModel

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
FIVE = ("v", "a", "b", "c", "d")
SECRETS = {name: RING.wrap(np.arange(4) + 1000 * place) for place, name in enumerate("vabcdefg")}
Names = tuple[str, ...]


def lying(
    terms: SumTerms, included: Mapping[str, Names], survivors: Mapping[str, Names], opened: Names
) -> Flow[U64 | None]:
    """The coordinator: tells each member what it likes, and opens the sum of ``opened`` if it has the secrets."""
    names = terms.members
    for name in names:
        yield Send(name, SumStart(0, names))
    heard = yield from _all(SumHeard, names)
    for name in names:
        yield Send(name, SumIncluded(0, included[name]))
    parts = yield from _all(SumPart, names)
    for name in names:
        yield Send(name, SumSurvivors(0, survivors[name]))
    told = yield from _all(SumUnmask, tuple(name for name in names if name in survivors[name]))

    def secret_of(name: str, *, key: bool) -> bytes:
        points = {
            names.index(holder) + 1: said.shares[included[holder].index(name)]
            for holder, said in told.items()
            if name in included[holder] and (name not in survivors[holder]) == key
        }
        return joined(points, terms.threshold)

    result = np.zeros(4, dtype=np.uint64)
    try:
        for name in opened:
            part = RING.unpack(parts[name].values, 4)
            part = RING.sub(part, secure_sum._own_mask(secret_of(name, key=False), RING, 4))
            for other in included[name]:
                if other not in opened:
                    against = {name: heard[name].public}
                    mask = secure_sum._pair_masks(secret_of(other, key=True), other, against, terms, 0, 4)
                    part = RING.add(part, mask)
            result = RING.add(result, part)
    except MalformedError:
        return None  # too few shares came back
    return result


def _all(kind: Any, names: Names) -> Flow[dict[str, Any]]:
    found = {}
    for name in names:
        try:
            found[name] = yield from next_of(name, kind, 0)
        except PeerLost:
            continue
    return found


def attacked(
    terms: SumTerms, included: Mapping[str, Names], survivors: Mapping[str, Names], opened: Names
) -> tuple[U64 | None, list[Any]]:
    """What the coordinator has in the end, and what the members' flows ended by."""
    flows: dict[str, Flow[Any]] = {
        name: add(terms, name, 0, terms.members, SECRETS[name], secret(name)) for name in terms.members
    }
    results, _ = play(flows | {COORDINATOR: lying(terms, included, survivors, opened)})
    return results[COORDINATOR], [results[name] for name in terms.members if name in results]


def without_comparing(*_: object) -> Iterator[Any]:
    yield from ()


def of_five() -> tuple[SumTerms, dict[str, Names], dict[str, Names]]:
    """v is told that it is masked with a and b alone; to the others a and b are said to have dropped out."""
    terms = SumTerms(FIVE, COORDINATOR, 3, RING, RUN)
    included: dict[str, Names] = {**dict.fromkeys(FIVE, FIVE), "v": ("v", "a", "b")}
    dropped = {"v": "", "a": "b", "b": "a", "c": "ab", "d": "ab"}
    survivors = {name: tuple(one for one in included[name] if one not in dropped[name]) for name in FIVE}
    return terms, included, survivors


def test_a_coordinator_that_names_other_members_to_each_reads_one_members_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attack: no share of both secrets of anybody comes together, and yet one member's numbers open exactly."""
    terms, included, survivors = of_five()
    monkeypatch.setattr(secure_sum, "_agree", without_comparing)
    read, _ = attacked(terms, included, survivors, ("v",))
    assert read is not None
    assert np.array_equal(read, SECRETS["v"])


def test_members_that_compare_what_they_were_told_give_no_share() -> None:
    terms, included, survivors = of_five()
    read, ended = attacked(terms, included, survivors, ("v",))
    assert read is None
    refused = [str(one) for one in ended if isinstance(one, UnattributedError)]
    assert any("was told other members of sum 0" in one for one in refused)


def test_nor_where_the_victim_is_cut_off_before_it_can_compare() -> None:
    """v never says what it was told: the others still need as many as the threshold beside it."""
    terms, included, _ = of_five()
    dropping = dict.fromkeys(FIVE, ("v", "c", "d")) | {"v": ("v", "a", "b")}

    def silent(sender: str, _: str, said: Any) -> bool:
        return sender == "v" and isinstance(said, SumAgreed)

    flows: dict[str, Flow[Any]] = {name: add(terms, name, 0, FIVE, SECRETS[name], secret(name)) for name in FIVE}
    results, sent = play(flows | {COORDINATOR: lying(terms, included, dropping, ("v",))}, drops=silent)
    assert results[COORDINATOR] is None
    assert not any(isinstance(said, SumUnmask) for *_, said in sent)


def test_a_value_needs_a_threshold_of_all_members_however_few_train_in_a_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attack: half of eight train in a round, of whom 3 are enough; 3 of 8 give the seed, 3 others the key."""
    eight = tuple("vabcdefg")
    rounds: Rounds = rounds_of(FederatedModel(rounds=1, sampled=0.5), eight, 3)
    assert rounds.model.threshold == 3
    included = dict.fromkeys(eight, eight)
    survivors = dict.fromkeys(eight, ("v", "a", "b")) | dict.fromkeys(("c", "d", "e"), ("c", "d", "e"))
    for terms in (rounds.sums, Plan(rounds, "v", 1).sums):
        read, ended = attacked(terms, included, survivors, ("v",))
        assert read is None
        assert all("would open a sum of 3 members" in str(one) for one in ended if isinstance(one, RemoteProtocolError))
    monkeypatch.setattr(SumTerms, "over", lambda terms, _: terms)
    read, _ = attacked(rounds.sums, included, survivors, ("v",))
    assert read is not None
    assert np.array_equal(read, SECRETS["v"])


def test_a_false_average_holds_everybody_where_they_were_and_one_left_out_shows() -> None:
    """A declared limit: the difference of two rounds is the update of who was left out of one of them."""
    members = {name: Fixed(np.random.default_rng(place).normal(size=3)) for place, name in enumerate(FIVE)}
    rounds = rounds_of(FederatedModel(rounds=1), FIVE, 3)
    everybody, _ = trained(rounds, members, np.zeros(3))

    def leaves_out(sender: str, _: str, said: Any) -> bool:
        return sender == "v" and isinstance(said, SumPart)

    rest, _ = trained(rounds, members, np.zeros(3), drops=leaves_out)
    difference = 5 * everybody["a"].weights - 4 * rest["a"].weights
    assert np.allclose(difference, members["v"].update, atol=1e-5)


class Linear:
    """A member of a line over its own rows: one step down the slope, the same from the same weights."""

    rows = 10

    def __init__(self, place: int) -> None:
        draw = np.random.default_rng(place)
        self.values, self.label = draw.normal(size=(10, 3)), draw.normal(size=10)

    def train(self, weights: F64, number: int) -> F64:
        moved: F64 = weights - 0.1 * self.values.T @ (self.values @ weights - self.label)
        return moved


def first_sum(rounds: Rounds, members: Mapping[str, Linear], seed: int, lost: str = "") -> tuple[F64, F64]:
    """First weights, and the sum of the first updates as every member hears it. lost: who drops out in the round."""

    def leaves_out(sender: str, _: str, said: Any) -> bool:
        return sender == lost and isinstance(said, SumPart)

    first = np.random.default_rng(seed).normal(size=3)
    found, _ = trained(rounds, members, first, drops=leaves_out)
    made = found[next(name for name in rounds.members if name != lost)]
    return first, len(made.rounds[0].names) * (made.weights - first)


@pytest.mark.parametrize("by_run", [False, True])
@pytest.mark.parametrize("seed_of", [training_seed, encoder_seed])
def test_two_runs_with_one_seed_and_a_member_in_one_of_them_alone(
    seed_of: Callable[[Rounds, int], int], by_run: bool
) -> None:
    """Attack, on what everybody is told of two honest runs: without the run's id the difference is one's update."""
    members = {name: Linear(place) for place, name in enumerate(FIVE)}
    sums = []
    for run, lost in ((RUN, ""), ("6b" * 32, "v")):
        rounds = replace(rounds_of(FederatedModel(rounds=1), FIVE, 3), run=run)
        sums.append(first_sum(rounds, members, seed_of(rounds if by_run else replace(rounds, run=""), 1), lost))
    (first, every), (_, rest) = sums
    read = np.allclose(every - rest, members["v"].train(first, 0) - first, atol=1e-5)
    assert read != by_run


@pytest.mark.parametrize("by_members", [False, True])
def test_a_valuation_made_again_without_a_member_and_two_coalitions_at_one_place(by_members: bool) -> None:
    """Attack: of five, d drops out between two tries; the fourth coalition of the first is one member less then."""
    members = {name: Linear(place) for place, name in enumerate(FIVE)}
    once = Plan(rounds_of(FederatedModel(rounds=1, threshold=3), FIVE, 3), "v", 1, whole=True)
    again = replace(once, rounds=replace(once.rounds, members=FIVE[:-1]))
    small, large = frozenset("bc"), frozenset("abc")
    assert once.coalitions.index(small) == again.coalitions.index(large) == 3
    assert {once.coalitions[p]: once.seed(p) for p in (0, 1)} == {again.coalitions[p]: again.seed(p) for p in (0, 1)}
    (first, every), (_, rest) = (
        first_sum(plan.training(3), members, plan.seed(3) if by_members else 3) for plan in (again, once)
    )
    read = np.allclose(every - rest, members["a"].train(first, 0) - first, atol=1e-5)
    assert read != by_members


def test_a_member_left_out_of_the_second_value_has_shown_its_own() -> None:
    """A declared limit: what members' own models are worth opens after training and in the valuation."""
    terms, periods = SumTerms(FIVE, COORDINATOR, 3, RING, RUN), 4
    judged = {
        name: Judged(np.random.default_rng(place).uniform(-0.2, 0.2, periods), np.full(periods, 30 + place))
        for place, name in enumerate(FIVE)
    }

    def opened(gone: set[str]) -> NDArray[np.int64]:
        flows: dict[str, Flow[Any]] = {
            name: tell_value(terms, name, 0, judged[name], secret(name)) for name in FIVE if name not in gone
        }
        results, _ = play(flows | {COORDINATOR: total(terms, 0, FIVE, 2 * periods, gone)})
        return RING.signed(results[COORDINATOR].elements)

    difference = opened(set()) - opened({"v"})
    rows = difference[periods:]
    assert np.array_equal(rows, judged["v"].rows)
    assert np.allclose(np.ldexp(difference[:periods].astype(float), -24) / rows, judged["v"].ics, atol=1e-6)
