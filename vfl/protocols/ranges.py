"""A proof that a Paillier ciphertext holds a number of at most B bits, which shows nothing else about it.

The number is encrypted bit by bit, c = prod c_j^(2^j), and each c_j is proved to hold 0 or 1: c_j or c_j / (1 + n) is
an n-th power. The one that is not is simulated (Cramer, Damgard and Schoenmakers, CRYPTO 1994); one challenge for all
bits comes from a hash (Fiat and Shamir, 1986). Proof of n-th powers: Damgard and Jurik, PKC 2001, section 5.
Sound against a prover who does not know the key's factors, and needs the key's prime factors to be larger than a
challenge, 128 bits. A key holder that made its own key badly harms its own total.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vfl.arithmetic.paillier import PaillierPublic
from vfl.arithmetic.randomness import SecretStream

__all__ = ["CHALLENGE_BITS", "MOST_BITS", "encrypt_in_range", "proof_size", "proves_range"]

CHALLENGE_BITS = 128
MOST_BITS = 56
"""Largest range: fees are minor units, and a total travels as a 63-bit integer."""

_TAG = b"entente/range-proof/1\x00"


def proof_size(public: PaillierPublic, bits: int) -> int:
    """Bytes of a proof for ``bits`` bits: the challenge, and per bit a ciphertext, its part of it and two answers."""
    return (bits + 1) * CHALLENGE_BITS // 8 + bits * 4 * public.width


def encrypt_in_range(
    public: PaillierPublic, value: int, bits: int, context: bytes, stream: SecretStream
) -> tuple[int, bytes]:
    """The encryption of ``value`` and the proof that it is below 2**bits. ``context`` binds the proof to its use.

    Raises ValueError for a value out of range, and for a range of more than :data:`MOST_BITS`.
    """
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"a range has 1 to {MOST_BITS} bits, not {bits}")
    if not 0 <= value < 1 << bits:
        raise ValueError(f"the value is not between 0 and {(1 << bits) - 1}: nothing was encrypted")
    digits = [value >> place & 1 for place in range(bits)]
    units = [public.unit(stream) for _ in digits]
    parts = [public.encrypt(digit, unit) for digit, unit in zip(digits, units, strict=True)]
    nonces = [public.unit(stream) for _ in digits]
    answers = [public.unit(stream) for _ in digits]
    guesses = [int.from_bytes(stream.take(CHALLENGE_BITS // 8), "little") for _ in digits]
    commitments = []
    for digit, part, nonce, answer, guess in zip(digits, parts, nonces, answers, guesses, strict=True):
        real = public.residue(nonce)
        feigned = public.residue(answer) * public.power(_claim(public, part, 1 - digit), -guess) % public.square
        commitments += [feigned, real] if digit else [real, feigned]
    challenge = _challenge(public, context, bits, parts, commitments)
    proof = challenge.to_bytes(CHALLENGE_BITS // 8, "little")
    for digit, unit, part, nonce, answer, guess in zip(digits, units, parts, nonces, answers, guesses, strict=True):
        mine = (challenge - guess) % (1 << CHALLENGE_BITS)
        known = nonce * pow(unit, mine, public.modulus) % public.modulus
        first, zero, one = (guess, answer, known) if digit else (mine, known, answer)
        proof += part.to_bytes(2 * public.width, "little") + first.to_bytes(CHALLENGE_BITS // 8, "little")
        proof += zero.to_bytes(public.width, "little") + one.to_bytes(public.width, "little")
    return _composed(public, parts), proof


def proves_range(public: PaillierPublic, ciphertext: int, bits: int, context: bytes, proof: bytes) -> bool:
    """Whether ``proof`` shows that ``ciphertext`` holds a number below 2**bits in this ``context``."""
    if not 1 <= bits <= MOST_BITS or len(proof) != proof_size(public, bits):
        return False
    width, small = public.width, CHALLENGE_BITS // 8
    sizes = (2 * width, small, width, width)
    challenge = int.from_bytes(proof[:small], "little")
    parts, answers, at = [], [], small
    for _ in range(bits):
        numbers = []
        for size in sizes:
            numbers.append(int.from_bytes(proof[at : at + size], "little"))
            at += size
        parts.append(numbers[0])
        answers.append(numbers[1:])
    if not all(public.is_ciphertext(part) for part in parts) or _composed(public, parts) != ciphertext:
        return False
    if not all(public.is_unit(zero) and public.is_unit(one) for _, zero, one in answers):
        return False
    commitments = []
    for part, (first, zero, one) in zip(parts, answers, strict=True):
        second = (challenge - first) % (1 << CHALLENGE_BITS)
        for digit, guess, answer in ((0, first, zero), (1, second, one)):
            raised = public.power(_claim(public, part, digit), -guess)
            commitments.append(public.residue(answer) * raised % public.square)
    return _challenge(public, context, bits, parts, commitments) == challenge


def _claim(public: PaillierPublic, part: int, digit: int) -> int:
    """What is an n-th power if the part holds ``digit``: c, or c / (1 + n) = c (1 - n)."""
    return part * (1 - public.modulus) % public.square if digit else part


def _composed(public: PaillierPublic, parts: Sequence[int]) -> int:
    total = 1
    for part in reversed(parts):
        total = total * total * part % public.square
    return total


def _challenge(
    public: PaillierPublic, context: bytes, bits: int, parts: Sequence[int], commitments: Sequence[int]
) -> int:
    """128 bits of a hash over everything the prover was bound to."""
    digest = hashlib.sha256(_TAG + hashlib.sha256(context).digest() + bits.to_bytes(2, "little"))
    digest.update(public.modulus.to_bytes(public.width, "little"))
    for number in (*parts, *commitments):
        digest.update(number.to_bytes(2 * public.width, "little"))
    return int.from_bytes(digest.digest()[: CHALLENGE_BITS // 8], "little")
