"""BFV over ``tenseal.sealapi``, which nothing imports but this module and :mod:`vfl.arithmetic.seal_words`.

Three things keep a peer's bytes away from SEAL's own parser: ciphertexts and keys travel as packed residues checked one
by one against their primes; SEAL objects are built here from words that were checked, in place or from a body that this
module writes itself (uncompressed, through a memfd); and nothing but size-2 ciphertexts of a parameter set on the
allow-list is ever accepted.

SEAL transforms, multiplies and switches; what an encryption samples comes from :mod:`vfl.arithmetic.rlwe`, and what a
decryption rounds from :mod:`vfl.arithmetic.mask`.

The evaluator's answer follows Halevi and Shoup's rule that a ciphertext which leaves is fresh: ``finish`` adds a
public-key encryption of zero and subtracts a mask uniform in R_q, so what the key holder sees is independent of the
evaluator's plaintext except for the share it is owed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import tenseal.sealapi as seal
from numpy.typing import NDArray

from vfl.arithmetic.mask import MaskSource, reduce_once
from vfl.arithmetic.parameter_sets import PARAMETER_SETS, PRIME_PARAMETER_SETS
from vfl.arithmetic.prime_ring import PRIME
from vfl.arithmetic.public_key import SEED_BYTES as KEY_SEED_BYTES
from vfl.arithmetic.public_key import rebased, unpack_key
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import pack, unpack
from vfl.arithmetic.rlwe import SEED_BYTES, ErrorSource, MessageScale, expanded, residues_of
from vfl.arithmetic.seal_objects import Ciphertext, Plain, PublicKeyObject
from vfl.arithmetic.seal_words import SealWords, SlotTransform
from vfl.arithmetic.zero_supply import FreshZeros, Zero, ZeroSupply

__all__ = [
    "PARAMETER_SETS",
    "Context",
    "Evaluator",
    "FreshZeros",
    "KeyHolder",
    "Zero",
    "ZeroSupply",
    "raw_operations",
]

U64 = NDArray[np.uint64]
_new_key: Callable[[], PublicKeyObject] = seal.PublicKey


class Context(SealWords):
    """SEAL context for one parameter set and plaintext ring; shared by both roles.

    ``ring``: the plaintext ring of ``ring_bits`` bits, Z_2^k or the prime ring. ``primes`` are those of an operand,
    ``answer_primes`` those of an answer: the evaluator of slot mode switches to fewer before it masks.
    """

    def __init__(self, name: str, ring_bits: int) -> None:
        terms = PARAMETER_SETS.get(name) or PRIME_PARAMETER_SETS.get(name)
        if terms is None:
            known = sorted({**PARAMETER_SETS, **PRIME_PARAMETER_SETS})
            raise ValueError(f"parameter set {name!r} is not allowed: choose one of {known}")
        self.name = name
        self.ring = terms.ring(ring_bits)
        self.ring_bits = ring_bits
        parms = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parms.set_poly_modulus_degree(terms.degree)
        parms.set_coeff_modulus(seal.CoeffModulus.Create(terms.degree, [*terms.prime_bits, terms.special_bits]))
        parms.set_plain_modulus(seal.Modulus(self.ring.modulus))
        super().__init__(seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.TC128), terms.degree)
        if not self.seal.parameters_set():
            raise ValueError(f"parameter set {name!r}: {self.seal.parameters_error_message()}")
        self.dropped, level = terms.dropped, self.seal.first_context_data()
        for _ in range(self.dropped):
            level = level.next_context_data()
        self.answer_parms = level.parms_id()
        self.key_primes = tuple(q.value() for q in self.seal.key_context_data().parms().coeff_modulus())
        self.primes = self.key_primes[:-1]
        self.answer_primes = self.primes[: len(self.primes) - self.dropped]
        self.widths = tuple((q.bit_length() + 7) // 8 for q in self.primes)
        self.masks = MaskSource(self.answer_primes, self.ring.modulus)
        self.scale = MessageScale(self.primes, self.ring.modulus)

    @cached_property
    def slots(self) -> SlotTransform:
        """Between the values of slot mode and polynomials."""
        assert self.ring.modulus == PRIME, "only the prime ring has slots"
        return SlotTransform(self.degree)

    def from_block(self, block: bytes) -> Ciphertext:
        """The ciphertext that one of a key holder's blocks stands for, in NTT form. Raises MalformedError."""
        size = self.degree * sum(self.widths)
        if len(block) != size + SEED_BYTES:
            raise MalformedError(f"a ciphertext has {size + SEED_BYTES} bytes, not {len(block)}")
        residues = np.empty((2, len(self.primes), self.degree), dtype=np.uint64)
        residues[0] = self.unpack_polynomial(block[:size], self.degree)
        residues[1] = expanded([block[size:]], self.primes, self.degree)[0]
        return self.cipher(self.seal.first_parms_id(), residues, ntt=True)

    def secret_plain(self, words: U64, parms: Sequence[int]) -> Plain:
        """A secret key's residues (primes * degree,) in NTT form, by which a ciphertext of ``parms`` is multiplied."""
        return self.loaded_plain(words, parms)

    def answer(self, residues: U64) -> Ciphertext:
        """The size-2 ciphertext of an answer, from residues (2, answer primes, degree) that were checked before."""
        return self.cipher(self.answer_parms, residues, ntt=False)

    def key(self, residues: U64) -> PublicKeyObject:
        """A public key from residues (2, key primes, degree) that were checked before."""
        return self.loaded(_new_key(), self.seal.key_parms_id(), True, residues)

    def pack_polynomial(self, residues: U64) -> bytes:
        """Wire bytes of residues (primes, count), of an operand's primes or an answer's."""
        return b"".join(pack(row, width) for row, width in zip(residues, self.widths, strict=False))

    def unpack_polynomial(self, data: bytes, count: int, *, answer: bool = False) -> U64:
        """Inverse of :meth:`pack_polynomial`; MalformedError on any residue not below its prime."""
        primes = self.answer_primes if answer else self.primes
        widths = self.widths[: len(primes)]
        if len(data) != count * sum(widths):
            raise MalformedError(f"{count} coefficients have {count * sum(widths)} bytes, not {len(data)}")
        rows, start = np.empty((len(primes), count), dtype=np.uint64), 0
        for row, prime, width in zip(rows, primes, widths, strict=True):
            row[:] = unpack(data[start : start + width * count], width, count, prime)
            start += width * count
        return rows


class KeyHolder:
    """Owns a fresh secret key (one per session, never stored), en- and decrypts under it, counts evaluators' faults."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.faults, self.draw = dict[str, int](), os.urandom
        generator = seal.KeyGenerator(context.seal)
        secret = generator.secret_key()
        public = seal.PublicKey()
        generator.create_public_key(public)
        words = context.words_of(secret.data(), len(context.key_primes) * context.degree)
        drawn = context.residues(public, len(context.key_primes))
        self.public_key = rebased(drawn, words.reshape(drawn[0].shape), context.key_primes, os.urandom(KEY_SEED_BYTES))
        count = len(context.primes) * context.degree
        self._secret = context.secret_plain(words[:count], context.seal.first_parms_id())
        answered = words[: len(context.answer_primes) * context.degree]
        self._answered = context.secret_plain(answered, context.answer_parms)
        self._errors, self._key = ErrorSource(os.urandom(32)), secret

    def __repr__(self) -> str:
        return f"KeyHolder({self.context.name!r}, ...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")

    def encrypt(self, coefficients: U64) -> bytes:
        """Secret-key encryption of one polynomial, as wire bytes: :meth:`encrypt_all`."""
        return self.encrypt_all(coefficients[None, :])[0]

    def encrypt_all(self, polynomials: U64) -> tuple[bytes, ...]:
        """Secret-key encryptions of polynomials (k, N): each the first one's residues in NTT form, then a seed.

        (round(q m / t) + e - a s, a) with a expanded from the seed, in NTT form, where the evaluator multiplies. SEAL's
        ciphertexts have two polynomials, so two messages are transformed at a time.
        """
        context, blocks = self.context, list[bytes]()
        for start in range(0, len(polynomials), 2):
            chosen = polynomials[start : start + 2]
            both = chosen if len(chosen) == 2 else np.concatenate([chosen, chosen])
            seeds = [os.urandom(SEED_BYTES) for _ in both]
            body = context.scale.scaled(both)
            body += residues_of(self._errors.errors(*both.shape), context.primes)
            bounds = np.array(context.primes, dtype=np.uint64)[:, None]
            reduce_once(body, bounds)
            parms = context.seal.first_parms_id()
            made = context.cipher(parms, body, ntt=False)
            context.engine.transform_to_ntt_inplace(made)
            hidden = context.cipher(parms, expanded(seeds, context.primes, context.degree), ntt=True)
            context.engine.multiply_plain_inplace(hidden, self._secret)
            context.engine.sub_inplace(made, hidden)
            found = context.residues(made, len(context.primes))[: len(chosen)]
            blocks += [context.pack_polynomial(row) + seed for row, seed in zip(found, seeds, strict=False)]
        return tuple(blocks)

    def decrypt(self, c0: bytes, c1: bytes, positions: NDArray[np.int64] | None = None) -> U64:
        """One of :meth:`decrypt_all`."""
        return self.decrypt_all([c0], [c1], [positions])[0]

    def decrypt_all(
        self, first: Sequence[bytes], second: Sequence[bytes], positions: Sequence[NDArray[np.int64] | None]
    ) -> list[U64]:
        """Each plaintext at its ``positions``, or everywhere; c0 carries residues for these coefficients only.

        round(t (c0 + c1 s) / q), rounded there alone and as the evaluator rounds its own share. SEAL's ciphertexts have
        two polynomials, so c1 of two are multiplied at a time. Raises MalformedError when the bytes are not
        ciphertexts of this parameter set.
        """
        context, found = self.context, list[U64]()
        for start in range(0, len(second), 2):
            hidden = [context.unpack_polynomial(c1, context.degree, answer=True) for c1 in second[start : start + 2]]
            if not all(one.any() for one in hidden):
                raise MalformedError("a ciphertext with a zero second polynomial hides nothing")
            both = context.answer(np.stack([hidden[0], hidden[-1]]))
            context.engine.transform_to_ntt_inplace(both)
            context.engine.multiply_plain_inplace(both, self._answered)
            context.engine.transform_from_ntt_inplace(both)
            products = context.residues(both, len(context.answer_primes))
            for place, product in enumerate(products[: len(hidden)], start):
                where = positions[place]
                count = context.degree if where is None else len(where)
                opened = context.unpack_polynomial(first[place], count, answer=True)
                opened += product if where is None else product[:, where]
                reduce_once(opened, np.array(context.answer_primes, dtype=np.uint64)[:, None])
                found.append(context.masks.rounded(opened))
        return found


class Evaluator:
    """Computes on ciphertexts under a key holder's public key, with its own small plaintexts.

    The key's second polynomial is derived here from a seed: a key holder that chose it would read X
    (vfl.arithmetic.public_key).
    """

    def __init__(self, context: Context, public_key: bytes) -> None:
        self.context = context
        self.public_key = public_key
        residues = unpack_key(public_key, context.key_primes, context.degree)
        # without the special prime it is a key of an operand's modulus, under the same secret and error
        used = np.ascontiguousarray(residues[:, : len(context.primes)])
        self._key = context.cipher(context.seal.first_parms_id(), used, ntt=True)
        self._errors, self._evaluator = ErrorSource(os.urandom(32)), context.engine

    def load(self, data: bytes) -> Ciphertext:
        """A received ciphertext, checked, in NTT form. Raises MalformedError."""
        return self.context.from_block(data)

    def plain(self, coefficients: U64) -> Plain | None:
        """A plaintext in NTT form; None for the zero polynomial, which SEAL refuses to multiply by."""
        if not coefficients.any():
            return None
        whole = np.zeros(self.context.degree, dtype=np.uint64)
        whole[: coefficients.size] = coefficients
        plain = self.context.plain(whole)
        self._evaluator.transform_to_ntt_inplace(plain, self.context.seal.first_parms_id())
        return plain

    def fresh_zero(self) -> Zero:
        """A public-key encryption of zero; each is used once.

        (b u + e1, a u + e2) for the public key (b, a), a ternary u and centred binomial errors of their own. The first
        parts are in NTT form like what they are added to, so that one transform brings both back.
        """
        context, engine = self.context, self._evaluator
        secret = context.plain(context.ring.wrap(self._errors.ternary(context.degree)))
        engine.transform_to_ntt_inplace(secret, context.seal.first_parms_id())
        product: Ciphertext = seal.Ciphertext(context.seal)
        engine.multiply_plain(self._key, secret, product)
        return Zero(product, self._errors.errors(2, context.degree))

    def combine(
        self, ciphers: Sequence[Ciphertext], plains: Sequence[Plain | None], total: Ciphertext | None = None
    ) -> Ciphertext | None:
        """``total`` and the sum of cipher * plain over the pairs, in NTT form; None when every plaintext is zero."""
        for cipher, plain in zip(ciphers, plains, strict=True):
            if plain is None:
                continue
            term: Ciphertext = seal.Ciphertext(self.context.seal)
            self._evaluator.multiply_plain(cipher, plain, term)
            if total is None:
                total = term
            else:
                self._evaluator.add_inplace(total, term)
        return total

    def summed(self, total: Ciphertext | None, zero: Zero) -> U64:
        """Residues (2, answer primes, N) of ``total`` and a fresh zero, which are used up."""
        context, engine = self.context, self._evaluator
        whole = zero.product
        if total is not None:
            engine.add_inplace(whole, total)
        engine.transform_from_ntt_inplace(whole)
        errors = residues_of(zero.errors, context.primes)
        engine.add_inplace(whole, context.cipher(context.seal.first_parms_id(), errors, ntt=False))
        if context.dropped:
            engine.mod_switch_to_inplace(whole, context.answer_parms)
        return context.residues(whole, len(context.answer_primes))

    def finish(
        self, total: Ciphertext | None, zero: Zero, positions: NDArray[np.int64] | None, stream: SecretStream
    ) -> tuple[bytes, bytes, U64]:
        """Make an output ciphertext safe to send: (c0 at ``positions`` or everywhere, c1, our share there).

        ``zero`` must be a fresh public-key encryption of zero: it randomises c1, which otherwise is
        the key holder's own polynomial times our plaintext. The mask is uniform in R_q, so it hides
        the noise as well as the message; c0 outside ``positions`` is not sent at all.
        """
        context, residues = self.context, self.summed(total, zero)
        masked = residues[0] if positions is None else residues[0][:, positions]
        mask, share = context.masks.draw(stream, masked.shape[1])
        masked -= mask
        # a difference below zero has wrapped to far above its prime
        np.minimum(masked, masked + np.array(context.answer_primes, dtype=np.uint64)[:, None], out=masked)
        return context.pack_polynomial(masked), context.pack_polynomial(residues[1]), share


def raw_operations(key: KeyHolder) -> dict[str, Callable[[], object]]:
    """SEAL's own operation for everything that a product cannot do without, alone, for benchmarks to time.

    ``encrypt``, ``expand`` and ``zero`` are SEAL's whole encryptions and the loading of a ciphertext whose second
    polynomial is a seed, which this module does in less time. ``switch`` is slot mode's alone.
    """
    context = key.context
    parms = context.seal.first_parms_id()
    words = np.arange(1, context.degree + 1, dtype=np.uint64)
    plain, lifted, result = context.plain(words), seal.Plaintext(), seal.Plaintext()
    in_ntt = context.from_block(key.encrypt(words))
    cipher, other, product, answer = (seal.Ciphertext(context.seal) for _ in range(4))
    engine, private = context.engine, seal.Encryptor(context.seal, key._key)
    opening = seal.Decryptor(context.seal, key._key)
    public = seal.Encryptor(context.seal, context.key(unpack_key(key.public_key, context.key_primes, context.degree)))
    engine.transform_from_ntt(in_ntt, cipher)
    engine.transform_to_ntt(plain, parms, lifted)
    engine.multiply_plain(in_ntt, lifted, product)
    engine.mod_switch_to(cipher, context.answer_parms, answer)
    seeded = context.kept_in_a_file(private.encrypt_symmetric(plain))
    return {
        "encrypt": lambda: private.encrypt_symmetric(plain, other),
        "expand": lambda: other.load(context.seal, seeded),
        "zero": lambda: public.encrypt_zero(context.answer_parms, other),
        "decrypt": lambda: opening.decrypt(answer, result),
        "ntt": lambda: engine.transform_to_ntt(cipher, other),
        "inverse_ntt": lambda: engine.transform_from_ntt(in_ntt, other),
        "plain_ntt": lambda: engine.transform_to_ntt(plain, parms, lifted),
        "multiply": lambda: engine.multiply_plain(in_ntt, lifted, other),
        "add": lambda: engine.add_inplace(product, product),
        "switch": lambda: engine.mod_switch_to(cipher, context.answer_parms, other),
    }
