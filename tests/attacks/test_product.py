"""Reading X out of the answers to a private product: through c1, through the noise, and with a key made for it.

Everything here is done by the key holder, with its own secret key and the bytes it received.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tests.attacks.negacyclic import Ints, centred, lifted, polynomial, spectrum
from tests.attacks.rig import key_for, secret
from tests.vfl.blocks import coefficients_of
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.public_key import SEED_BYTES, expand, unpack_key
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, pack
from vfl.arithmetic.zero_supply import Zero
from vfl.protocols.product import Answer, Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer

BITS = 44
RING = Ring(BITS)
ROWS, INNER, COLUMNS = 48, 4, 8
CONTEXT = key_for().context
Q = int(np.prod([int(p) for p in CONTEXT.primes], dtype=object))
T = RING.modulus
NUMBERS = count()


def left(seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(-2048, 2049, (ROWS, INNER))


RIGHT = RING.uniform(secret("right"), (INNER, COLUMNS))
PACKING = choose_packing(ROWS, INNER, COLUMNS, CONTEXT.degree)
PLACES = np.array([i * PACKING.n * PACKING.k + PACKING.n - 1 - j for i in range(ROWS) for j in range(INNER)])


def test_the_shape_fills_one_block() -> None:
    assert (PACKING.m, PACKING.n, PACKING.k) == (ROWS, INNER, COLUMNS)


# --- what the key holder knows ----------------------------------------------------------------------


@cache
def secret_key() -> Ints:
    """The holder's own s, by decrypting (0, q/t)."""
    delta = np.zeros((len(CONTEXT.primes), CONTEXT.degree), dtype=np.uint64)
    delta[:, 0] = [(Q // T) % p for p in CONTEXT.primes]
    zero = CONTEXT.pack_polynomial(np.zeros_like(delta))
    return RING.signed(key_for().decrypt(zero, CONTEXT.pack_polynomial(delta), np.arange(CONTEXT.degree))).astype(
        object
    )


@cache
def secret_spectrum(prime: int) -> Ints:
    return spectrum(secret_key(), prime)


def phase(c1: NDArray[np.uint64]) -> Ints:
    """c1 * s mod q."""
    rows = []
    for prime, row in zip(CONTEXT.primes, c1, strict=True):
        rows.append(polynomial(spectrum(row, prime) * secret_spectrum(prime) % prime, prime))
    return lifted(rows, CONTEXT.primes)


def halves(block: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    first, second = coefficients_of(CONTEXT, block)
    return first, second


# --- the exchange, with a given evaluator -------------------------------------------------------


def exchange(evaluator: Evaluator, x: NDArray[np.int64]) -> tuple[Operand, Answer]:
    operand = Operand("x", INNER, COLUMNS, PACKING.sizes, encrypt_right(key_for(), RIGHT, PACKING))
    answer, share = multiply(Prepared(evaluator, x, PACKING), operand, secret(f"mask/{next(NUMBERS)}"))
    held = open_answer(key_for(), answer, ROWS, COLUMNS, PACKING)
    difference = RING.signed(RING.sub(RING.add(share, held), RING.matmul(x, RIGHT)))
    assert int(np.abs(difference).max()) <= 1, "the product is right, with the defence and without"
    return operand, answer


def read_through_c1(operand: Operand, answer: Answer) -> Ints:
    """Divide the answer's second polynomial by the operand's own: what stands where X is packed."""
    prime = CONTEXT.primes[0]
    _, asked = halves(operand.blocks[0])
    got = CONTEXT.unpack_polynomial(answer.second[0], CONTEXT.degree)
    inverse = np.array([pow(int(v), -1, prime) for v in spectrum(asked[0], prime)], dtype=object)
    ratio = spectrum(got[0], prime) * inverse % prime
    return centred(polynomial(ratio, prime), prime)[PLACES].reshape(ROWS, INNER)


def read_through_noise(pairs: list[tuple[Operand, Answer]]) -> NDArray[np.float64]:
    """Least squares on what the decryptions' rounding left over: e * x, e being the holder's own noise."""
    message = np.pad(packed := PACKING.right(RIGHT, RING, transposed=False), (0, CONTEXT.degree - len(packed)))
    known, left_over = [], []
    positions = PACKING.positions(ROWS, COLUMNS, transposed=False)
    distance = positions[:, None] - PLACES[None, :]
    for operand, answer in pairs:
        c0, c1 = halves(operand.blocks[0])
        asked = lifted([row.astype(object) for row in c0], CONTEXT.primes) + phase(c1)
        noise = centred(asked - (2 * Q * message.astype(object) + T) // (2 * T), Q)
        assert int(np.abs(noise).max()) < 64, "the holder knows its own noise"
        got = CONTEXT.unpack_polynomial(answer.first[0], len(positions))
        second = CONTEXT.unpack_polynomial(answer.second[0], CONTEXT.degree)
        whole = (lifted([row.astype(object) for row in got], CONTEXT.primes) + phase(second)[positions]) % Q
        share = (2 * T * whole + Q) // (2 * Q)
        left_over.append(centred(whole - (2 * Q * share + T) // (2 * T), Q).astype(np.float64))
        known.append(np.where(distance < 0, -1.0, 1.0) * noise[distance % CONTEXT.degree].astype(np.float64))
    solved: NDArray[np.float64] = np.linalg.lstsq(np.vstack(known), np.concatenate(left_over), rcond=None)[0]
    return solved.reshape(ROWS, INNER)


def read(values: NDArray[Any], x: NDArray[np.int64]) -> float:
    """Share of X's entries that were read exactly."""
    return float((np.rint(values.astype(np.float64)) == x).mean())


class NoFreshZero(Evaluator):
    """Defence switched off: c0 is masked, c1 leaves as it is."""

    def summed(self, total: Any, zero: Zero) -> Any:
        return super().summed(None, Zero(total, np.zeros_like(zero.errors)))


class MaskInPlaintextRing(Evaluator):
    """Defence switched off: the mask is a multiple of q/t, uniform in Z_t."""

    def finish(self, total: Any, zero: Any, positions: NDArray[np.int64], stream: SecretStream) -> Any:
        residues = self.summed(total, zero)
        share = RING.uniform(stream, (len(positions),))
        mask = (2 * Q * share.astype(object) + T) // (2 * T)
        masked = [(residues[0, i, positions].astype(object) - mask) % p for i, p in enumerate(self.context.primes)]
        return (
            self.context.pack_polynomial(np.array(masked).astype(np.uint64)),
            self.context.pack_polynomial(residues[1]),
            share,
        )


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(CONTEXT, key_for().public_key)


def test_without_a_fresh_zero_the_key_holder_divides_and_reads_everything() -> None:
    x = left(1)
    assert read(read_through_c1(*exchange(NoFreshZero(CONTEXT, key_for().public_key), x)), x) == 1.0


def test_with_a_fresh_zero_the_quotient_says_nothing(evaluator: Evaluator) -> None:
    x = left(1)
    quotient = read_through_c1(*exchange(evaluator, x))
    assert read(quotient, x) < 0.02
    spread = ((quotient.reshape(-1).astype(np.float64) / CONTEXT.primes[0] + 0.5) * 8).astype(int)
    assert stats.chisquare(np.bincount(spread, minlength=8)).pvalue > 1e-4, "uniform"


STEPS = 2


def test_with_a_mask_in_the_plaintext_ring_the_noise_tells_everything() -> None:
    """The same rows at two steps. More columns than features do it in one."""
    x = left(2)
    weak = MaskInPlaintextRing(CONTEXT, key_for().public_key)
    solved = read_through_noise([exchange(weak, x) for _ in range(STEPS)])
    assert np.corrcoef(solved.reshape(-1), x.reshape(-1))[0, 1] > 0.9999
    assert np.median(np.abs(solved - x)) < 8, "of values up to 2,048"


def test_with_a_mask_in_r_q_the_noise_says_nothing(evaluator: Evaluator) -> None:
    x = left(3)
    solved = read_through_noise([exchange(evaluator, x) for _ in range(STEPS)])
    assert read(solved, x) < 0.03
    assert abs(np.corrcoef(solved.reshape(-1), x.reshape(-1))[0, 1]) < 5 / np.sqrt(ROWS * INNER)


# --- a key holder whose key is made for reading ---------------------------------------------------

STRUCTURED = {
    "one": lambda shape: np.ones(shape, dtype=np.uint64),
    "a small constant": lambda shape: np.full(shape, 3, dtype=np.uint64),
    "a large constant": lambda shape: np.full(shape, 1 << 20, dtype=np.uint64),
}


def left_beside(operand: Operand, answer: Answer, x: NDArray[np.int64]) -> int:
    """The largest coefficient of what the second polynomial holds beside the operand's own times this X."""
    residues = []
    for number, prime in enumerate(CONTEXT.primes):
        guessed = np.zeros(CONTEXT.degree, dtype=object)
        guessed[PLACES] = x.reshape(-1)
        asked = spectrum(halves(operand.blocks[0])[1][number], prime) * spectrum(guessed % prime, prime)
        got = CONTEXT.unpack_polynomial(answer.second[0], CONTEXT.degree)[number]
        residues.append((got.astype(object) - polynomial(asked % prime, prime)) % prime)
    return int(np.abs(centred(lifted(residues, CONTEXT.primes), Q)).max())


@pytest.mark.parametrize("shape_of_a", STRUCTURED)
def test_a_chosen_second_polynomial_would_confirm_any_guess(shape_of_a: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the key holder's own ``a`` taken from the wire, what is added would be small, so it would try X value by
    value: with the right one nothing large is left, with one entry off by one everything is."""

    def chosen(data: bytes, primes: Any, degree: int) -> NDArray[np.uint64]:
        honest = unpack_key(data, primes, degree)
        return np.stack([honest[0], STRUCTURED[shape_of_a](honest[1].shape)])

    x = left(3)
    operand = Operand("x", INNER, COLUMNS, PACKING.sizes, encrypt_right(key_for(), RIGHT, PACKING))
    with monkeypatch.context() as weak:
        weak.setattr("vfl.arithmetic.he.unpack_key", chosen)
        fooled = Evaluator(CONTEXT, key_for().public_key)
    answer, _ = multiply(Prepared(fooled, x, PACKING), operand, secret("mask"))
    other = x.copy()
    other[5, 2] += 1
    assert left_beside(operand, answer, x) < 2**22
    assert left_beside(operand, answer, other) > Q // 2**10
    answer, _ = multiply(Prepared(Evaluator(CONTEXT, key_for().public_key), x, PACKING), operand, secret("mask"))
    assert left_beside(operand, answer, x) > Q // 2**10, "under an expanded polynomial the right guess shows as nothing"


@pytest.mark.parametrize(
    ("seed", "first"),
    [(bytes(SEED_BYTES), "zero"), (b"\xff" * SEED_BYTES, "one"), (b"\x01" + bytes(SEED_BYTES - 1), "honest")],
    ids=["zero", "one", "honest"],
)
def test_whatever_the_key_holder_sends_the_second_polynomial_is_not_its_choice(seed: bytes, first: str) -> None:
    """Seed and first polynomial are all that a key carries; neither opens c1, and c0 leaves under a uniform mask."""
    words = {
        "zero": bytes(len(key_for().public_key) - SEED_BYTES),
        "one": pack(np.ones(len(CONTEXT.key_primes) * CONTEXT.degree, dtype=np.uint64), 8),
        "honest": key_for().public_key[SEED_BYTES:],
    }[first]
    x = left(4)
    operand = Operand("x", INNER, COLUMNS, PACKING.sizes, encrypt_right(key_for(), RIGHT, PACKING))
    fooled = Evaluator(CONTEXT, seed + words)
    answer, _ = multiply(Prepared(fooled, x, PACKING), operand, secret("mask"))
    assert read(read_through_c1(operand, answer), x) < 0.02


def test_the_expansion_is_pinned() -> None:
    """A change of the expansion is a change of the protocol."""
    rows = expand(bytes(range(32)), (1152921504606830593, 1032193), 16)
    assert hashlib.sha256(rows.astype("<u8").tobytes()).hexdigest() == PINNED


PINNED = "c375b6b324fa77568c86bf0dde611f43d035fa6ce62fdf6801dbd963d41b4f81"


def test_a_public_key_out_of_range_or_length_is_refused() -> None:
    good = key_for().public_key
    for bad in (b"", good[:-8], good + bytes(8), good[:SEED_BYTES] + b"\xff" * (len(good) - SEED_BYTES)):
        with pytest.raises(ValueError, match=r"bytes|prime"):
            Evaluator(CONTEXT, bad)


def test_the_rest_of_the_answer_is_uniform(evaluator: Evaluator) -> None:
    """c0 residues of many answers, the same X each time."""
    x = np.full((ROWS, INNER), 2048)
    seen = []
    for number in range(12):
        operand = Operand("x", INNER, COLUMNS, PACKING.sizes, encrypt_right(key_for(), RIGHT, PACKING))
        answer, _ = multiply(Prepared(evaluator, x, PACKING), operand, secret(f"uniform/{number}"))
        seen.append(CONTEXT.unpack_polynomial(answer.first[0], ROWS * COLUMNS))
    for prime, row in zip(CONTEXT.primes, np.concatenate(seen, axis=1), strict=True):
        bins = (row.astype(np.float64) * (64 / prime)).astype(int)
        assert stats.chisquare(np.bincount(bins, minlength=64)).pvalue > 1e-6


def test_another_context_s_key_or_ciphertext_does_not_fit() -> None:
    larger = KeyHolder(Context("bfv-8192", 54))
    with pytest.raises(ValueError, match="bytes"):
        Evaluator(CONTEXT, larger.public_key)
    with pytest.raises(ValueError, match="bytes"):
        Evaluator(CONTEXT, key_for().public_key).load(larger.encrypt(np.ones(8192, dtype=np.uint64)))
