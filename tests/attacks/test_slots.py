"""Reading the evaluator's share out of a slot answer's noise, and what each side of a slot product receives.

The attacker is a key holder that adds noise of its choosing to the ciphertext it sends: a constant K. What it decrypts
then carries K times the evaluator's polynomial as noise, which it reads unless the mask is uniform in R_q.
"""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from psi.flow import Message, RemoteProtocolError
from tests.attacks.negacyclic import Ints, centred, lifted, polynomial, spectrum
from tests.vfl.blocks import with_error
from tests.vfl.protocols.prime_rig import (
    U64,
    evaluator_side,
    secret,
    shares_of_product,
    slot_key,
    slot_public,
    uniform,
)
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.equality import Compared, proof
from vfl.protocols.slot_messages import SlotAnswer, SlotCheck, SlotOperand
from vfl.protocols.slots import CHECK_SLOTS, MOST_FAULTS, SLOTS, multiply_slots

CONTEXT = slot_key().context
N = CONTEXT.degree
PRIMES = CONTEXT.answer_primes
Q = math.prod(PRIMES)
DROPPED = CONTEXT.primes[-1]
EVERYWHERE = np.arange(N)


# --- the key holder's own means ------------------------------------------------------------------


@cache
def secret_key() -> Ints:
    """The holder's own s, by decrypting (0, q/p)."""
    delta = np.zeros((len(PRIMES), N), dtype=np.uint64)
    delta[:, 0] = [(Q // PRIME) % p for p in PRIMES]
    zero = CONTEXT.pack_polynomial(np.zeros_like(delta))
    return PRIME_RING.signed(slot_key().decrypt(zero, CONTEXT.pack_polynomial(delta), EVERYWHERE)).astype(object)


def left_over(first: bytes, second: bytes) -> Ints:
    """What rounding leaves of c0 + c1 s: the noise, where the mask is a plaintext."""
    c0 = CONTEXT.unpack_polynomial(first, N, answer=True).astype(object)
    c1 = CONTEXT.unpack_polynomial(second, N, answer=True)
    rows = [polynomial(spectrum(row, p) * spectrum(secret_key(), p) % p, p) for row, p in zip(c1, PRIMES, strict=True)]
    whole = (lifted(list(c0), PRIMES) + lifted(rows, PRIMES)) % Q
    nearest = (2 * PRIME * whole + Q) // (2 * Q)
    return centred(whole - (2 * Q * nearest + PRIME) // (2 * PRIME), Q)


def with_noise(block: bytes, constant: int) -> bytes:
    """The holder's ciphertext with ``constant`` added to the noise of its first coefficient."""
    return with_error(CONTEXT, block, {0: constant})


def row_of(values: U64) -> U64:
    row: U64 = CONTEXT.slots.polynomials(values[None, :])[0]
    return row


def attack(evaluator: Evaluator, own: U64, constant: int, name: str) -> NDArray[np.float64]:
    """The holder's guess of the evaluator's polynomial, from one answer."""
    block = with_noise(slot_key().encrypt(row_of(uniform("held", N))), constant)
    loaded = [evaluator.load(block)]
    operand: list[Any] = [evaluator.plain(row_of(own))]
    first, second, _ = multiply_slots(evaluator, [(loaded, operand)], secret(name))
    guess: Ints = left_over(first[0], second[0]) * DROPPED
    return np.array([float(v) / constant for v in guess])


def truth(own: U64) -> NDArray[np.float64]:
    """The evaluator's polynomial, coefficients in +-p/2, as SEAL lifts them."""
    return PRIME_RING.signed(row_of(own)).astype(np.float64)


class PlaintextMask(Evaluator):
    """Defence switched off: the mask is a multiple of q/p, uniform in Z_p, and noise of ``drowning`` bits beside it."""

    drowning = 0

    def finish(self, total: Any, zero: Any, positions: NDArray[np.int64], stream: SecretStream) -> Any:
        residues = self.summed(total, zero)
        share = PRIME_RING.uniform(stream, (N,))
        mask = (2 * Q * share.astype(object) + PRIME) // (2 * PRIME)
        if self.drowning:
            mask = mask + stream.bits(self.drowning, N).astype(object) - 2 ** (self.drowning - 1)
        masked = [(residues[0, i].astype(object) - mask) % p for i, p in enumerate(PRIMES)]
        first = self.context.pack_polynomial(np.array(masked).astype(np.uint64))
        return first, self.context.pack_polynomial(residues[1]), share


class DrowningNoise(PlaintextMask):
    """The same with noise 2**33 times as large as any an honest ciphertext could carry."""

    drowning = 50


# as large as the evaluator's coefficients leave room for: K x / (dropped prime) stays within half a step, 2**60
CONSTANT = 2 * DROPPED


def test_under_a_plaintext_mask_chosen_noise_reads_every_coefficient() -> None:
    own = uniform("own", N)
    read = attack(PlaintextMask(CONTEXT, slot_key().public_key), own, CONSTANT, "plain")
    assert np.abs(read - truth(own)).max() < 2**14, "of values up to 2**58, the honest noise apart"
    assert float(np.corrcoef(read, truth(own))[0, 1]) > 0.999999


def test_drowning_noise_does_not_help_against_noise_that_is_larger_still() -> None:
    own = uniform("own", N)
    read = attack(DrowningNoise(CONTEXT, slot_key().public_key), own, CONSTANT, "drown")
    assert float(np.corrcoef(read, truth(own))[0, 1]) > 0.9999
    assert float((np.abs(read - truth(own)) < 2**50).mean()) == 1.0, "the top 8 bits of every coefficient"


@pytest.mark.parametrize("constant", [0, 2**20, DROPPED, CONSTANT], ids=["honest", "small", "large", "largest"])
def test_under_a_mask_in_r_q_the_noise_is_independent_of_the_operand(constant: int) -> None:
    """Whatever noise was sent: uniform, uncorrelated with the operand, and the same for two operands."""
    found = []
    for name in ("one", "two"):
        own = uniform(name, N)
        noise = attack(slot_public(), own, constant or 1, f"mask/{name}/{constant}") * (constant or 1) / DROPPED
        assert abs(float(np.corrcoef(noise, truth(own))[0, 1])) < 5 / math.sqrt(N)
        bins = np.clip((noise * PRIME / Q + 0.5) * 32, 0, 31).astype(int)
        assert stats.chisquare(np.bincount(bins, minlength=32)).pvalue > 1e-6, "uniform over a whole step"
        found.append(noise)
    assert stats.ks_2samp(*found).pvalue > 1e-6


def test_faults_made_on_purpose_tell_one_bit_each_and_end_the_session_by_name() -> None:
    """Under R_q the holder's noise only breaks the product, which the evaluator sees and counts."""

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, SlotOperand):
            blocks = tuple(with_noise(block, CONSTANT) for block in got.blocks)
            return dataclasses.replace(got, blocks=blocks)
        return got

    side = evaluator_side("made")
    with pytest.raises(RemoteProtocolError, match=r"^holder: more than 3 ciphertexts"):
        shares_of_product(uniform("a", SLOTS), uniform("b", SLOTS), relay, side)
    assert side.faults == MOST_FAULTS + 1


def test_the_holder_cannot_pass_the_check_by_guessing() -> None:
    """It has one guess at a share of 59 bits in each check slot."""

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, SlotCheck):
            guess = Compared.of(f"x/{PRIME_RING.pack(uniform('guess', CHECK_SLOTS)).hex()}", secret("guess").take)
            return dataclasses.replace(got, values=guess.point + proof(guess.common(guess.point), "key holder"))
        return got

    with pytest.raises(RemoteProtocolError, match=r"^holder: more than 3 ciphertexts"):
        shares_of_product(uniform("a", 5), uniform("b", 5), relay)


# --- what each side receives ------------------------------------------------------------------------


def uniform_below(values: NDArray[Any], bound: int) -> float:
    """p value of a chi-square test over 64 bins."""
    bins = np.clip((values.astype(np.float64) * (64 / bound)).astype(int), 0, 63)
    return float(stats.chisquare(np.bincount(bins, minlength=64)).pvalue)


@pytest.mark.parametrize(("held", "own"), [(0, 0), (1, 1), (PRIME - 1, PRIME - 1), (1, 0), (2**47, 2**47)])
def test_all_that_either_side_receives_is_uniform(held: int, own: int) -> None:
    """Constant operands, over several products: ciphertext residues, shares, and the shares of check slots."""
    heard: list[Message] = []

    def relay(_: str, __: str, got: Message) -> Message:
        heard.append(got)
        return got

    shares: list[tuple[U64, U64]] = []
    for number in range(6):
        vectors = (np.full(SLOTS, value, dtype=np.uint64) for value in (held, own))
        shares.append(shares_of_product(*vectors, relay, evaluator_side(f"{held}/{own}/{number}")))
    for end in (0, 1):
        assert uniform_below(np.concatenate([pair[end] for pair in shares]), PRIME) > 1e-6
    answers = [m for m in heard if isinstance(m, SlotAnswer)]
    for part in ("first", "second"):
        rows = [CONTEXT.unpack_polynomial(getattr(m, part)[0], N, answer=True) for m in answers]
        for row, prime in zip(np.concatenate(rows, axis=1), PRIMES, strict=True):
            assert uniform_below(row, prime) > 1e-6
    size = N * sum(CONTEXT.widths)
    asked = [CONTEXT.unpack_polynomial(m.blocks[0][:size], N) for m in heard if isinstance(m, SlotOperand)]
    for row, prime in zip(np.concatenate(asked, axis=1), CONTEXT.primes, strict=True):
        assert uniform_below(row, prime) > 1e-6
    shown = [m.values for m in heard if isinstance(m, SlotCheck)]
    assert len({values[:32] for values in shown} | {m.compared for m in answers}) == 12, "points are never seen twice"
    assert {type(m).__name__ for m in heard} == {"SlotOperand", "SlotAnswer", "SlotCheck", "SlotVerdict"}


def test_two_answers_to_the_same_operands_share_nothing() -> None:
    answers: list[SlotAnswer] = []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, SlotAnswer):
            answers.append(got)
        return got

    for name in ("once", "twice"):
        shares_of_product(uniform("a", 9), uniform("b", 9), relay, evaluator_side(name))
    one, two = answers
    assert one.first != two.first
    assert one.second != two.second
