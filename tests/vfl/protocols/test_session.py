"""A session refuses what does not go together, and what a peer announces is checked once, for every model."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from psi.flow import LocalProtocolError, Message, RemoteProtocolError, run_local
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.resume import Forward, Resumed
from vfl.protocols.session import Kept, MaskedSum, PublicKey, Session, SingleSum, row_ids, rows_announced
from vfl.terms import FixedPoint

FIXED = FixedPoint(ring_bits=44, feature_bits=8, gradient_bits=12)
RING = Ring(FIXED.ring_bits)
SET = "bfv-4096"
COLUMNS = {"a": 3, "b": 2}
KEY = KeyHolder(Context(SET, FIXED.ring_bits))
AGREED: dict[str, Any] = {
    "me": "fund", "label_party": "fund", "parties": COLUMNS, "fixed": FIXED, "parameter_set": SET, "name": "train-1",
}  # fmt: skip


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def share(*shape: int) -> Share[Ring]:
    return Share(RING, RING.uniform(secret(str(shape)), shape))


FORWARD = Forward("train-1", 0, True, np.arange(2), share(3, 2), share(2, 2))


def label(**changes: Any) -> LabelSession:
    return LabelSession(**{**AGREED, "key": KEY, **changes})


def feature(**changes: Any) -> FeatureSession:
    brought = {"masks": ZeroSumMasks("a", {}, RING), "budget": OpeningBudget(9, 1), "stream": secret("a")}
    return FeatureSession(**{**AGREED, "me": "a", **brought, **changes})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"parties": {}}, "feature parties with at least one column"),
        ({"parties": {"a": 3, "b": 0}}, "feature parties with at least one column"),
        ({"parties": {"a": 3}}, "agreement's consent"),
        ({"parties": {**COLUMNS, "fund": 1}}, "cannot be label party and feature party"),
        ({"me": "stranger"}, "takes no part"),
        ({"name": ""}, "masks of two attempts would meet"),
    ],
)
def test_what_was_agreed_must_go_together(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        Session(**{**AGREED, **changes})
    with pytest.raises(LocalProtocolError, match=why):
        label(**changes)


def test_each_end_takes_its_own_role_and_records_need_a_journal() -> None:
    with pytest.raises(LocalProtocolError, match="not the label party"):
        label(me="a")
    with pytest.raises(LocalProtocolError, match="is the label party"):
        feature(me="fund")
    with pytest.raises(LocalProtocolError, match="other encryption parameters"):
        label(key=KeyHolder(Context(SET, FIXED.ring_bits - 1)))
    with pytest.raises(LocalProtocolError, match="keeps a journal"):
        label(resumed=Resumed(1, {}, {}, b"", np.zeros(0), np.zeros(0)))
    with pytest.raises(LocalProtocolError, match="keeps a journal"):
        feature(resumed=FORWARD)
    with pytest.raises(LocalProtocolError, match="keeps a journal"):
        feature(predicted=[FORWARD])
    with pytest.raises(ValueError, match="not allowed"):
        _ = Session(**{**AGREED, "parameter_set": "bfv-1024"}).context
    with pytest.raises(LocalProtocolError, match=r"3 columns were agreed and \(4,\) brought"):
        feature().check_columns((9, 4))


def test_a_single_party_with_consent_sends_its_part_as_what_it_is() -> None:
    alone = Session(**{**AGREED, "parties": {"a": 3}}, single_party=True)
    assert alone.sum_kind is SingleSum
    assert Session(**AGREED).sum_kind is MaskedSum
    assert feature().others == ("b",)


def test_a_session_prints_its_name_and_no_secret() -> None:
    kept = Kept(np.arange(2), share(2, 2))
    for held in (label(), feature(), kept, FORWARD):
        text = repr(held)
        for number in (*share(2, 2).elements.reshape(-1), *share(3, 2).elements.reshape(-1)):
            assert str(int(number)) not in text
    assert repr(feature()) == "FeatureSession('train-1' at 'a', ...)"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(FORWARD)


@pytest.mark.parametrize("other", [{"parameter_set": "bfv-8192"}, {"ring_bits": 43}, {"key": b"short"}])
def test_a_key_of_other_parameters_names_the_label_party(other: dict[str, Any]) -> None:
    def relay(sender: str, receiver: str, message: Message) -> Message:
        return replace(message, **other) if isinstance(message, PublicKey) else message

    flows = {"fund": label().start(), "a": feature().take_key(), "b": feature(me="b").take_key()}
    with pytest.raises(RemoteProtocolError, match=r"^fund: "):
        run_local(flows, relay=relay)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x01\x00\x00\x00" * 2, b"\x09\x00\x00\x00", b"\xff\xff\xff\xff", bytes(3)]
)
def test_announced_rows_exist_and_are_distinct(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^fund: announced rows that do not exist or repeat"):
        rows_announced(data, 9, "fund")


def test_announced_rows_are_not_more_than_allowed() -> None:
    rows = np.array([8, 0, 3])
    assert rows_announced(row_ids(rows), 9, "fund", most=3).tolist() == rows.tolist()
    with pytest.raises(RemoteProtocolError, match="3 rows where 2 are allowed"):
        rows_announced(row_ids(rows), 9, "fund", most=2)


def test_predictions_are_kept_in_the_order_of_their_steps() -> None:
    session = label()
    assert session.kept(2)["a"].share.shape == (0, 2)
    for start in (0, 4):
        session.keep(np.arange(start, start + 2), {name: share(2, 2) for name in COLUMNS})
    kept = session.kept(2)["b"]
    assert kept.rows.tolist() == [0, 1, 4, 5]
    assert kept.share.shape == (4, 2)
    served = feature(journal=object(), predicted=[FORWARD]).served(share(3, 2), 5)
    assert served.predictions.rows.tolist() == [0, 1]
    assert served.steps == 5
