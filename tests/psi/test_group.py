from __future__ import annotations

import copy
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import rbcl

from psi.flow import RemoteProtocolError
from psi.group import InvalidPoint, Scalar, check_points, hash_to_group, is_element, split_points
from tests.psi.rig import Seeded

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ristretto255.json").read_text(encoding="utf-8"))
GOOD = [bytes.fromhex(text) for text in VECTORS["multiples_of_generator"]]
BAD = [(reason, bytes.fromhex(text)) for reason, texts in VECTORS["invalid"].items() for text in texts]
GENERATOR = GOOD[1]


def scalar(number: int) -> Scalar:
    return Scalar(number.to_bytes(32, "little"))


def test_multiples_of_the_generator() -> None:
    for number, expected in enumerate(GOOD[1:], start=1):
        assert scalar(number).multiplier()([GENERATOR]) == [expected]
        assert is_element(expected)


def test_the_identity_is_an_encoding_but_no_element_of_ours() -> None:
    assert rbcl.crypto_core_ristretto255_is_valid_point(GOOD[0])
    assert not is_element(GOOD[0])
    with pytest.raises(InvalidPoint):
        scalar(2).multiplier()([GENERATOR, GOOD[0]])


@pytest.mark.parametrize(("reason", "point"), BAD, ids=[f"{reason} {point.hex()[:8]}" for reason, point in BAD])
def test_invalid_encodings_are_refused(reason: str, point: bytes) -> None:
    assert not is_element(point)
    with pytest.raises(InvalidPoint):
        scalar(2).multiplier()([point])
    with pytest.raises(RemoteProtocolError, match="peer: sent a point"):
        check_points([GENERATOR, point], "peer")


def test_element_derivation() -> None:
    for text, expected in VECTORS["derived_from_sha512"].items():
        assert rbcl.crypto_core_ristretto255_from_hash(hashlib.sha512(text.encode()).digest()).hex() == expected


def test_hashing_separates_runs_and_texts() -> None:
    points = [hash_to_group(run, text) for run in (b"", b"a", b"ab") for text in ("", "b", "bc", "BRK.B")]
    assert len(set(points)) == len(points)
    assert all(map(is_element, points))
    # the tag: product, version, purpose, then the run with its length
    digest = hashlib.sha512(b"entente/psi/1/hash-to-group\x00" + b"\x00\x00\x00\x02ab" + b"BRK.B").digest()
    assert hash_to_group(b"ab", "BRK.B") == rbcl.crypto_core_ristretto255_from_hash(digest)


def test_inverse_and_product_undo_a_blinding() -> None:
    one, other = Scalar.random(Seeded(1)), Scalar.random(Seeded(2))
    point = hash_to_group(b"run", "AAPL")
    blinded = one.multiplier()([point])
    assert blinded != [point]
    assert one.inverse().multiplier()(blinded) == [point]
    assert one.inverse().times(other).multiplier()(blinded) == other.multiplier()([point])


@pytest.mark.parametrize("encoded", [b"", bytes(31), bytes(32), bytes(33)])
def test_zero_and_misfits_are_no_scalars(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes and not zero"):
        Scalar(encoded)


REFUSED: dict[str, Callable[[Scalar], object]] = {
    "str": str,
    "format": lambda secret: f"{secret}",
    "print": print,
    "bool": bool,
    "bytes": bytes,
    "hash": hash,
    "equal": lambda secret: secret == secret,
    "unequal": lambda secret: secret != scalar(1),
    "less": lambda secret: secret < scalar(1),
    "in": lambda secret: scalar(1) in [secret],
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "vars": vars,
}


@pytest.mark.parametrize("use", REFUSED)
def test_a_scalar_refuses_to_be_seen_or_compared(use: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[use](scalar(7))


def test_what_a_scalar_shows_in_a_traceback_is_no_secret() -> None:
    secret = scalar(7)
    assert repr(secret) == "<secret scalar>"
    assert "7" not in repr(secret.multiplier())
    assert not hasattr(secret, "__dict__")


def test_a_multiplier_travels_to_a_worker() -> None:
    sent = pickle.loads(pickle.dumps(scalar(3).multiplier()))
    assert sent([GENERATOR]) == [GOOD[3]]


@pytest.mark.parametrize(
    ("packed", "count", "reason"),
    [
        (b"x" * 31, 1, "were announced"),
        (b"", 1, "were announced"),
        (b"x" * 64, 2, "twice"),
        (b"x" * 32, 0, "announced"),
    ],
)
def test_points_are_split_strictly(packed: bytes, count: int, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        split_points(packed, count, "peer")
