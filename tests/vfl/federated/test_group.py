"""A group's encoder: trained together, the same at everyone, passed on to who was lost, refused where it differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Message, PeerLost, RemoteProtocolError, UnattributedError
from tests.vfl.federated.rig import COORDINATOR, RUN, Fixed, play, secret
from vfl.federated.group import JointEncoder, by_turns, encoder_seed, join_group, serve_group
from vfl.federated.messages import EncoderHeld, EncoderPassed, SumPart, SumTotal
from vfl.federated.rounds import Rounds
from vfl.federated_terms import FederatedRounds

F64 = NDArray[np.float64]
NAMES = ("n", "s", "e", "w")


def rounds(names: tuple[str, ...] = NAMES, **terms: Any) -> Rounds:
    model = FederatedRounds(rounds=3, **terms).agreed_for(len(names))
    return Rounds(model, names, COORDINATOR, RUN, 5)


def group(held: dict[str, F64] | None = None, **playing: Any) -> tuple[dict[str, Any], list[tuple[str, str, Message]]]:
    terms, held = rounds(), held or {}
    flows = {
        name: join_group(terms, name, Fixed(np.full(5, place + 1.0)), np.zeros(5), secret(name), held.get(name))
        for place, name in enumerate(NAMES)
    }
    return play({**flows, COORDINATOR: serve_group(terms, set())}, **playing)


def weights(found: Any) -> F64:
    assert isinstance(found, JointEncoder), found
    return found.weights


def test_all_members_end_with_one_encoder() -> None:
    found, _ = group()
    for name in NAMES:
        np.testing.assert_allclose(weights(found[name]), 3 * 2.5, atol=1e-6)
        np.testing.assert_array_equal(weights(found[name]), weights(found["n"]))
    assert [one.names for one in found[COORDINATOR]] == [NAMES] * 3


def test_a_member_that_is_lost_costs_no_round_and_is_given_the_encoder_when_it_is_back() -> None:
    def drops(sender: str, _: str, message: Message) -> bool:
        return sender == "e" and isinstance(message, SumPart) and message.number == 1

    found, _ = group(drops=drops)
    trained = {name: weights(found[name]) for name in ("n", "s", "w")}
    assert [one.names for one in found["n"].rounds] == [NAMES, ("n", "s", "w"), ("n", "s", "w")]
    again, sent = group(trained)
    for name in NAMES:
        np.testing.assert_array_equal(weights(again[name]), trained["n"])
        assert again[name].rounds == ()
    assert again[COORDINATOR] == ()
    assert [(one, to) for one, to, message in sent if isinstance(message, EncoderPassed)] == [("n", "e")]
    assert not any(isinstance(message, SumPart) for _, _, message in sent), "nothing is trained again"


def test_fewer_than_the_threshold_hold_it_and_all_train_again() -> None:
    old = np.arange(5.0)
    found, sent = group({"n": old, "s": old})
    assert rounds().model.threshold == 3
    assert all((weights(found[name]) == weights(found["n"])).all() for name in NAMES)
    assert weights(found["n"])[0] != old[0]
    assert not any(isinstance(message, EncoderPassed) for _, _, message in sent)


def test_who_is_told_other_averages_finds_out_before_it_uses_them() -> None:
    def change(sender: str, to: str, message: Message) -> Message:
        if isinstance(message, SumTotal) and to == "w" and message.number == 2:
            return replace(message, values=message.values[:-16] + b"\1" + message.values[-15:])
        return message

    found, _ = group(change=change)
    assert all(isinstance(found[name], UnattributedError) for name in NAMES), "a lying coordinator or member"
    assert "the members end with different encoders, w" in str(found["n"])


def test_a_member_that_tells_a_false_hash_has_nobody_named_for_it() -> None:
    """What the others see is the same as where the coordinator told them different averages."""

    def change(sender: str, to: str, message: Message) -> Message:
        lies = isinstance(message, EncoderHeld) and sender == "w" and message.number == 1
        return replace(message, digest=b"x" * 32) if lies else message

    found, _ = group(change=change)
    assert all(isinstance(found[name], UnattributedError) for name in NAMES if name != "w")
    assert "tells a hash that is not its own; nothing shows which" in str(found["n"])
    assert getattr(found["n"], "peer", "") == ""


def test_who_cannot_compare_with_enough_others_has_no_encoder() -> None:
    def drops(sender: str, _: str, message: Message) -> bool:
        return sender in ("s", "e") and isinstance(message, EncoderHeld) and message.number == 1

    found, _ = group(drops=drops)
    assert isinstance(found["n"], PeerLost)
    assert isinstance(found["w"], PeerLost)


def test_half_of_eight_pass_nothing_on_where_fewer_train_in_a_round() -> None:
    eight = tuple("abcdefgh")
    model = FederatedRounds(rounds=1, sampled=0.5).agreed_for(8)
    terms = Rounds(model, eight, COORDINATOR, RUN, 5)
    assert model.threshold == 3
    flows: dict[str, Any] = {
        name: join_group(
            terms, name, Fixed(np.ones(5)), np.zeros(5), secret(name), np.arange(5.0) if place < 4 else None
        )
        for place, name in enumerate(eight)
    }
    found, sent = play({**flows, COORDINATOR: serve_group(terms, set())})
    assert not any(isinstance(message, EncoderPassed) for _, _, message in sent)
    np.testing.assert_allclose(weights(found["h"]), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "with_", "said"),
    [
        (EncoderPassed, {"values": b"\0" * 40}, "passed another encoder than the members hold"),
        (EncoderPassed, {"values": b"\0" * 8}, "passed 1 numbers as its group's encoder, not 5"),
        (EncoderHeld, {"number": 7}, "told what it holds at another place"),
    ],
)
def test_what_a_member_makes_up_is_refused_by_name(
    kind: type[EncoderPassed | EncoderHeld], with_: dict[str, Any], said: str
) -> None:
    old = dict.fromkeys(("n", "s", "w"), np.arange(5.0))

    def change(sender: str, to: str, message: Message) -> Message:
        return replace(message, **with_) if isinstance(message, kind) and (sender, to) == ("n", "e") else message

    found, _ = group(old, change=change)
    assert isinstance(found["e"], RemoteProtocolError)
    assert said in str(found["e"])
    assert found["e"].peer == "n"


def test_two_groups_take_turns_at_one_coordinator() -> None:
    one, two = rounds(), rounds(("a", "b", "c"))
    flows: dict[str, Any] = {
        name: join_group(terms, name, Fixed(np.ones(5)), np.zeros(5), secret(name))
        for terms in (one, two)
        for name in terms.members
    }
    found, sent = play({**flows, COORDINATOR: by_turns([serve_group(one, set()), serve_group(two, set())])})
    assert [len(kept) for kept in found[COORDINATOR]] == [3, 3]
    np.testing.assert_allclose(weights(found["a"]), 3.0, atol=1e-6)
    totals = [to for _, to, message in sent if isinstance(message, SumTotal)]
    assert totals.index("a") < len(totals) - 1 - totals[::-1].index("n"), "neither waits for the whole of the other"


def test_another_run_and_another_attempt_begin_at_other_weights() -> None:
    seeds = {
        encoder_seed(rounds(), 1),
        encoder_seed(rounds(), 2),
        encoder_seed(rounds(seed=1), 1),
        encoder_seed(replace(rounds(), run="00" * 32), 1),
    }
    assert len(seeds) == 4
