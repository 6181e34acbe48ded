"""Zero-sum masks: one party's sum, collusion, reuse after a resume; and messages replayed or put in another order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.transport.channel import Frame
from parties.transport.memory import MemoryNetwork
from psi.flow import LocalProtocolError, Message, Payload, Recv, RemoteProtocolError, Role
from tests.attacks.rig import FIXED, RING, RUN, SET, Session, feature_side, key_for, label_session, secret, weight_share
from vfl.arithmetic.ring import unpack
from vfl.arithmetic.share import opened
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.product import Answer, Operand, Packing, open_answer
from vfl.protocols.session import MaskedSum

ROWS, D, WIDTH = 40, 5, 4
PARTIES = ("a", "b", "c")
CUT = 2.0 ** -(FIXED.feature_bits - 3)


def features(parties: tuple[str, ...] = PARTIES) -> dict[str, NDArray[np.float64]]:
    draw = np.random.default_rng(5)
    return {n: draw.normal(size=(ROWS, D)).clip(-8, 8) for n in parties}


def true_embedding(name: str) -> NDArray[np.float64]:
    halves = [weight_share(f"{side}/{name}", (D, WIDTH)) for side in "uv"]
    result: NDArray[np.float64] = features()[name] @ opened(halves, FIXED.weight_bits)
    return result


def masked(session: Session, name: str) -> NDArray[np.uint64]:
    (sent,) = session.seen("source.sum", sender=name)
    return unpack(sent.values, RING.width, ROWS * WIDTH, RING.modulus).reshape(ROWS, WIDTH)


def label_share(session: Session, name: str) -> NDArray[np.uint64]:
    """What the label party decrypts of one party's answer, from the recorded bytes and its own key."""
    (asked,) = session.seen("product.operand", receiver=name)
    (answer,) = session.seen("product.answer", sender=name)

    packing = Packing(*asked.packing, key_for().context.degree)
    return open_answer(key_for(), answer, ROWS, WIDTH, packing)


def of_one_party(session: Session, *names: str) -> NDArray[np.float64]:
    """The label party's best try at the sum of ``names``: their messages and its own shares of their products."""
    total = np.zeros((ROWS, WIDTH), dtype=np.uint64)
    for name in names:
        total = RING.add(total, RING.add(masked(session, name), label_share(session, name)))
    return RING.decode(total, FIXED.output_bits)


class NoMask:
    """Defence switched off."""

    def __init__(self, masks: ZeroSumMasks) -> None:
        del masks

    def mask(self, label: str, parties: Any, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        return np.zeros(shape, dtype=np.uint64)


def recorded(**options: Any) -> tuple[Session, dict[str, Any]]:
    session = label_session(PARTIES, features(), WIDTH, **options)
    return session, session.run()


def test_without_masks_the_label_party_reads_each_party() -> None:
    session, _ = recorded(wrap_masks=NoMask)
    for name in PARTIES:
        assert np.abs(of_one_party(session, name) - true_embedding(name)).max() < CUT


def test_with_masks_it_reads_the_sum_of_all_and_nothing_of_fewer() -> None:
    session, results = recorded()
    whole = sum(true_embedding(name) for name in PARTIES)
    assert np.abs(of_one_party(session, *PARTIES) - whole).max() < CUT
    assert np.abs(results["label"][0] - whole).max() < CUT
    for group in (("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")):
        guess, truth = of_one_party(session, *group), sum(true_embedding(name) for name in group)
        correlation = np.corrcoef(guess.reshape(-1), np.asarray(truth).reshape(-1))[0, 1]
        assert abs(correlation) < 5 / np.sqrt(ROWS * WIDTH), group
        assert np.abs(guess - truth).min() > CUT


def test_colluding_feature_parties_unmask_what_is_left_of_the_sum_and_that_is_the_last_party() -> None:
    """As the documents say: with K = 3, b alone opens nothing to the label party; b and c together open a."""
    session, results = recorded()
    masks = {name: results[name][1] for name in PARTIES}
    secrets = {name: masks[name]._secrets for name in PARTIES}
    guess = of_one_party(session, "a")

    def streams_of(helpers: tuple[str, ...]) -> NDArray[np.uint64]:
        """What ``helpers`` know of a's mask: the streams they share with it."""
        known = ZeroSumMasks("a", {n: secrets[n]["a"] for n in helpers}, RING)
        return known.mask("train-1/0", ("a", *helpers), (ROWS, WIDTH))

    truth = true_embedding("a")
    for helpers, opens in ((("b",), False), (("c",), False), (("b", "c"), True)):
        left = RING.decode(
            RING.sub(RING.wrap(np.rint(np.ldexp(guess, FIXED.output_bits)).astype(np.int64)), streams_of(helpers)),
            FIXED.output_bits,
        )
        if opens:
            assert np.abs(left - truth).max() < CUT
        else:
            correlation = np.corrcoef(left.reshape(-1), truth.reshape(-1))[0, 1]
            assert abs(correlation) < 5 / np.sqrt(ROWS * WIDTH)


# --- reuse -----------------------------------------------------------------------------------


class Forgetful(ZeroSumMasks):
    """Defence switched off: a label may serve again, as after a resume that restores keys but not memory."""

    def mask(self, label: str, parties: Any, shape: tuple[int, ...]) -> NDArray[np.uint64]:
        self._used.clear()
        return super().mask(label, parties, shape)


SECRETS = {"a": {"b": bytes(32)}, "b": {"a": bytes(32)}}


def two_maskings(kind: type[ZeroSumMasks], second: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    draw = np.random.default_rng(0)
    values = [RING.wrap(draw.integers(-(2**20), 2**20, (ROWS, WIDTH))) for _ in range(2)]
    masks = kind("a", SECRETS["a"], RING)
    sent = [
        RING.add(v, masks.mask(label, "ab", (ROWS, WIDTH))) for v, label in zip(values, ("t-1/0", second), strict=True)
    ]
    return RING.sub(sent[1], sent[0]), RING.sub(values[1], values[0])


def test_one_mask_on_two_values_shows_their_difference() -> None:
    seen, truth = two_maskings(Forgetful, "t-1/0")
    assert np.array_equal(seen, truth)


def test_a_label_serves_once_and_a_new_session_has_new_masks() -> None:
    with pytest.raises(LocalProtocolError, match="used before"):
        two_maskings(ZeroSumMasks, "t-1/0")
    seen, truth = two_maskings(ZeroSumMasks, "t-2/0")
    assert not (seen == truth).any()
    assert np.abs(RING.signed(seen).astype(float)).mean() > RING.modulus / 8, "uniform, not small"


def test_a_step_asked_twice_in_one_session_opens_once() -> None:
    """A label party that repeats a step with other weights gets no second sum."""
    second: list[bool] = []

    def again(sender: str, receiver: str, got: Message) -> Message:
        if type(got).__name__ == "Batch":
            second.append(True)
            return dataclasses.replace(got, step=0)
        if isinstance(got, Operand):
            return dataclasses.replace(got, label="forward/0")
        return dataclasses.replace(got, label="forward/1") if isinstance(got, Answer) and len(second) > 3 else got

    session = label_session(PARTIES, features(), WIDTH, steps=2)
    session.tamper = again
    with pytest.raises(RemoteProtocolError, match=r"label: .*made before|used before"):
        session.run()
    assert len(session.seen("source.sum")) == 3, "three parties, one opening"


def test_agreeing_twice_on_one_stream_never_meets_the_same_masks() -> None:
    """What a resume inside one process would do: same run, same stream, same session label."""
    streams = {n: secret(f"resumed/{n}") for n in PARTIES}
    sums = []
    for _ in range(2):
        session = label_session(PARTIES, features(), WIDTH)
        plain = session.flows

        def flows(plain: Callable[[], dict[str, Any]] = plain) -> dict[str, Any]:

            made = {"label": plain()["label"]}
            for n in PARTIES:
                made[n] = feature_side(
                    n, dict.fromkeys(PARTIES, D), features()[n], WIDTH, OpeningBudget(ROWS, 9), stream=streams[n]
                )
            return made

        session.flows = flows
        session.run()
        sums.append({n: RING.add(masked(session, n), label_share(session, n)) for n in PARTIES})
    for n in PARTIES:
        # with the mask of the first time the difference would be that of the two embeddings: zero here
        assert np.abs(RING.signed(RING.sub(sums[0][n], sums[1][n])).astype(float)).mean() > RING.modulus / 8


# --- replay and reordering ----------------------------------------------------------------------


def replaying(kind: str, sender: str = "a") -> Callable[[str, str, Message], Message]:
    """From its second message of a kind on, ``sender`` sends the first again."""
    first: list[Message] = []

    def tamper(who: str, to: str, got: Message) -> Message:
        if getattr(got, "_kind", "") == kind and who == sender and to in ("label", "a"):
            first.append(got)
            return first[0]
        return got

    return tamper


def gradient(_: int) -> NDArray[np.float64]:
    return np.full((ROWS, WIDTH), 0.01)


@pytest.mark.parametrize(
    ("kind", "sender", "says"),
    [
        ("source.sum", "a", r"^a: sent the sum of step 0 at step 1"),
        ("product.answer", "a", r"^a: answered 'forward/0' when 'backward/0' was due"),
        ("product.operand", "label", r"^label: sent operand 'forward/0'"),
        ("source.batch", "label", r"^label: sent operand 'forward/1'|was due"),
    ],
)
def test_an_old_message_at_a_later_step_is_refused_by_name(kind: str, sender: str, says: str) -> None:
    session = label_session(PARTIES, features(), WIDTH, steps=2, gradient=gradient)
    session.tamper = replaying(kind, sender)
    with pytest.raises(RemoteProtocolError, match=says):
        session.run()


def test_an_old_sum_renamed_for_a_new_step_spoils_the_sum_and_opens_nothing() -> None:
    """What a malicious feature party can do: noise. The label party sees garbage, not another party."""
    old: list[MaskedSum] = []

    def tamper(who: str, to: str, got: Message) -> Message:
        if isinstance(got, MaskedSum) and who == "a":
            old.append(got)
            return dataclasses.replace(old[0], step=got.step)
        return got

    session = label_session(PARTIES, features(), WIDTH, steps=2)
    session.tamper = tamper
    first, second = session.run()["label"]
    assert np.abs(first - sum(true_embedding(n) for n in PARTIES)).max() < CUT
    assert np.abs(second).mean() > 2.0 ** (RING.bits - FIXED.output_bits - 6)


ROLES = {"label": Role.LABEL, "a": Role.FEATURE}


def channels(relay: Any) -> tuple[Any, Any]:
    network = MemoryNetwork(relay=relay)
    return tuple(network.node(n).open(RUN, "train-1", ROLES, tuple(Payload)) for n in ("label", "a"))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (lambda f: [f[0], f[0]], "a replay or a reordering"),
        (lambda f: [f[1], f[0]], "missing or out of order"),
        (lambda f: [f[0], f[2]], "missing or out of order"),
        (lambda f: [f[0], f[1], f[0]], "a replay or a reordering"),
    ],
    ids=["twice", "swapped", "skipped", "replayed late"],
)
def test_a_transport_takes_each_message_once_and_in_order(order: Any, says: str) -> None:
    kept: list[Frame] = []

    def relay(to: str, frame: Frame) -> list[Frame]:
        kept.append(frame)
        return order(kept) if len(kept) == 3 else []

    label, a = channels(relay)
    for step in range(3):
        a.send("label", MaskedSum(step, b"x"))
    with pytest.raises(RemoteProtocolError, match=says) as caught:
        for _ in range(3):
            label.receive([Recv("a", MaskedSum)], 0.2)
    assert caught.value.peer == "a"


def test_a_frame_of_an_earlier_session_never_arrives() -> None:
    network = MemoryNetwork()
    old = [network.node(n).open(RUN, "train-1", ROLES, tuple(Payload)) for n in ROLES]
    for channel in old:
        channel.close()
    label, _ = (network.node(n).open(RUN, "train-2", ROLES, tuple(Payload)) for n in ROLES)
    network.inject("label", Frame(RUN, "train-1", "a", 0, "source.sum", b""))
    network.inject("label", Frame(RUN, "train-2", "stranger", 0, "source.sum", b""))
    assert label.meter.by_kind("received") == {}


def test_what_the_attacks_run_on_is_an_allowed_parameter_set() -> None:
    assert key_for().context.name == SET
