"""BFV over ``tenseal.sealapi``: the only module that imports tenseal.

Three things keep a peer's bytes away from SEAL's own parser: ciphertexts and keys travel as packed residues checked one
by one against their primes; SEAL objects are built here from a body this module writes itself (uncompressed, through a
memfd); and nothing but size-2 ciphertexts of a parameter set on the allow-list is ever accepted.

The evaluator's answer follows Halevi and Shoup's rule that a ciphertext which leaves is fresh: ``finish`` adds a
public-key encryption of zero and subtracts a mask uniform in R_q, so what the key holder sees is independent of the
evaluator's plaintext except for the share it is owed.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow
import tenseal.sealapi as seal
from numpy.typing import NDArray

from vfl.arithmetic import seal_format as form
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.parameter_sets import PARAMETER_SETS, PRIME_PARAMETER_SETS
from vfl.arithmetic.prime_ring import PRIME
from vfl.arithmetic.public_key import SEED_BYTES as KEY_SEED_BYTES
from vfl.arithmetic.public_key import rebased, unpack_key
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import pack, unpack
from vfl.arithmetic.seal_objects import Ciphertext, Plain, PublicKeyObject, SealObject
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply

__all__ = [
    "PARAMETER_SETS",
    "Context",
    "Evaluator",
    "FreshZeros",
    "KeyHolder",
    "SlotTransform",
    "ZeroSupply",
    "raw_operations",
]

U64 = NDArray[np.uint64]
Object = TypeVar("Object", bound=SealObject)
_new_cipher: Callable[[], Ciphertext] = seal.Ciphertext
_new_plain: Callable[[], Plain] = seal.Plaintext
_new_key: Callable[[], PublicKeyObject] = seal.PublicKey


class _Objects:
    """SEAL objects of one SEAL context, built from words, and the words of our own ones."""

    def __init__(self, made: Any, degree: int) -> None:
        self.seal = made
        self.degree = degree
        self._file = os.memfd_create("entente-seal")
        weakref.finalize(self, os.close, self._file)
        self._path = f"/proc/self/fd/{self._file}"
        self._codec = pyarrow.Codec("zstd")

    def _load(self, target: Object, body: bytes, words: U64, tail: bytes = b"") -> Object:
        os.pwritev(self._file, form.framed(body, words, tail), 0)
        target.load(self.seal, self._path)
        return target

    def plain(self, coefficients: U64) -> Plain:
        """A plaintext polynomial with the given coefficients below the plaintext modulus."""
        count = coefficients.size
        return self._load(_new_plain(), form.PLAIN.pack(0, 0, 0, 0, count, 1.0), coefficients)

    def _cipher(self, target: Object, parms: Sequence[int], ntt: bool, residues: U64) -> Object:
        body = form.CIPHER.pack(*parms, ntt, 2, self.degree, residues.shape[1], 1.0, 1)
        return self._load(target, body, residues)

    def residues(self, cipher: Ciphertext | PublicKeyObject, primes: int) -> U64:
        """Residues (2, primes, degree) of one of our own ciphertexts or keys."""
        return self._words(cipher, form.CIPHER_LAYOUT, 2 * primes * self.degree).reshape(2, primes, self.degree)

    def coefficients(self, plain: Plain) -> U64:
        """All ``degree`` coefficients of a plaintext we decrypted."""
        count = plain.coeff_count()
        out = np.zeros(self.degree, dtype=np.uint64)
        if count:
            out[:count] = self.words_of(plain, count)
        return out

    def words_of(self, plain: Plain, count: int) -> U64:
        """The first ``count`` words of one of our own plaintexts."""
        return self._words(plain, form.PLAIN_LAYOUT, count)

    def _words(self, source: SealObject, layout: form.Layout, count: int) -> U64:
        """A copy of the u64 words of one of our own SEAL objects."""
        view = layout.view(source, count) if self._direct else None
        return self._saved_words(source, layout.body, count) if view is None else view.copy()

    def _saved_words(self, source: SealObject, skip: int, count: int) -> U64:
        """The same through SEAL's own (compressed) save, after ``skip`` bytes of the body."""
        body = self._saved(source, skip + 24 + 8 * count)
        return np.frombuffer(body, dtype="<u8", count=count, offset=skip + 24)

    def _saved(self, source: SealObject, size: int) -> bytes:
        """The body of ``size`` bytes that SEAL writes for one of our own objects."""
        os.ftruncate(self._file, 0)
        source.save(self._path)
        raw = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if not form.is_compressed(raw):
            return raw[16:]
        body: bytes = self._codec.decompress(raw[16:], decompressed_size=size, asbytes=True)
        return body

    @cached_property
    def _direct(self) -> bool:
        """Whether words read from memory equal those SEAL saves, on a random object of each type."""
        parms = self.seal.first_context_data().parms()
        primes = [q.value() for q in parms.coeff_modulus()]
        words = np.frombuffer(os.urandom(8 * self.degree), dtype="<u8")
        plain = self.plain(words % np.uint64(parms.plain_modulus().value()) | np.uint64(1))
        residues = np.stack([np.stack([words % np.uint64(q) for q in primes])] * 2)
        cipher = self._cipher(_new_cipher(), self.seal.first_parms_id(), False, residues)
        pairs = ((plain, form.PLAIN_LAYOUT, self.degree), (cipher, form.CIPHER_LAYOUT, 2 * len(primes) * self.degree))
        for source, layout, count in pairs:
            view = layout.view(source, count)
            if view is None or not np.array_equal(view, self._saved_words(source, layout.body, count)):
                return False
        return True


class Context(_Objects):
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

    @cached_property
    def slots(self) -> SlotTransform:
        """Between the values of slot mode and polynomials."""
        assert self.ring.modulus == PRIME, "only the prime ring has slots"
        return SlotTransform(self.degree)

    def seeded_block(self, source: Ciphertext) -> bytes:
        """Wire bytes of one of our own fresh secret-key encryptions: first polynomial, then the second's seed."""
        count, start = len(self.primes) * self.degree, form.CIPHER.size + 24
        marked = 1 + (len(form.SEED_HEADER) + form.SEED_BYTES + 7) // 8
        view = form.CIPHER_LAYOUT.view(source, count + marked) if self._direct else None
        if view is not None and view[count] == form.SEEDED:
            words, tail = view[:count], view[count + 1 :].tobytes()[: len(form.SEED_HEADER) + form.SEED_BYTES]
        else:
            body = self._saved(source, start + 8 * count + len(form.SEED_HEADER) + form.SEED_BYTES)
            words = np.frombuffer(body, dtype="<u8", count=count, offset=start)
            tail = body[start + 8 * count :]
        assert tail.startswith(form.SEED_HEADER), "SEAL wrote a seed in another form"
        return self.pack_polynomial(words.reshape(len(self.primes), -1)) + tail[len(form.SEED_HEADER) :]

    def from_block(self, block: bytes) -> Ciphertext:
        """The ciphertext that :meth:`seeded_block` stands for; SEAL expands the seed. Raises MalformedError."""
        size = self.degree * sum(self.widths)
        if len(block) != size + form.SEED_BYTES:
            raise MalformedError(f"a ciphertext has {size + form.SEED_BYTES} bytes, not {len(block)}")
        words = self.unpack_polynomial(block[:size], self.degree)
        body = form.CIPHER.pack(*self.seal.first_parms_id(), False, 2, self.degree, len(self.primes), 1.0, 1)
        return self._load(_new_cipher(), body, words, form.SEED_HEADER + block[size:])

    def answer(self, residues: U64) -> Ciphertext:
        """The size-2 ciphertext of an answer, from residues (2, answer primes, degree) that were checked before."""
        return self._cipher(_new_cipher(), self.answer_parms, False, residues)

    def key(self, residues: U64) -> PublicKeyObject:
        """A public key from residues (2, key primes, degree) that were checked before."""
        return self._cipher(_new_key(), self.seal.key_parms_id(), True, residues)

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


class SlotTransform(_Objects):
    """Between slot values and polynomials mod p: SEAL's own negacyclic transform, under a context whose one prime is p.

    The order of the slots is the transform's, which both ends share; SEAL's batch encoder would only permute it.
    """

    def __init__(self, degree: int) -> None:
        parms = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parms.set_poly_modulus_degree(degree)
        parms.set_coeff_modulus([seal.Modulus(PRIME)])
        parms.set_plain_modulus(seal.Modulus(2))
        super().__init__(seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.TC128), degree)
        self._engine = seal.Evaluator(self.seal)

    def polynomials(self, values: U64) -> U64:
        """Coefficients (k, N) of the polynomials that have ``values`` (k, N) in their slots."""
        return self._through(values, self._engine.transform_from_ntt_inplace, ntt=True)

    def values(self, polynomials: U64) -> U64:
        """Slot values (k, N) of polynomials (k, N)."""
        return self._through(polynomials, self._engine.transform_to_ntt_inplace, ntt=False)

    def _through(self, rows: U64, transform: Callable[[Ciphertext], object], *, ntt: bool) -> U64:
        """Two rows at a time: SEAL's ciphertexts have two polynomials, and it refuses one whose second is zero."""
        out = np.zeros_like(rows)
        alive = np.flatnonzero(rows.any(axis=1))
        for start in range(0, len(alive), 2):
            chosen = alive[start : start + 2]
            both = rows[[chosen[0], chosen[-1]]].reshape(2, 1, self.degree)
            cipher = self._cipher(_new_cipher(), self.seal.first_parms_id(), ntt, both)
            transform(cipher)
            out[chosen] = self.residues(cipher, 1)[: len(chosen), 0]
        return out


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
        self._encryptor = seal.Encryptor(context.seal, secret)
        self._decryptor = seal.Decryptor(context.seal, secret)

    def __repr__(self) -> str:
        return f"KeyHolder({self.context.name!r}, ...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")

    def encrypt(self, coefficients: U64) -> bytes:
        """Secret-key encryption of one polynomial, as wire bytes: the second polynomial is a seed."""
        return self.context.seeded_block(self._encryptor.encrypt_symmetric(self.context.plain(coefficients)))

    def decrypt(self, c0: bytes, c1: bytes, positions: NDArray[np.int64] | None = None) -> U64:
        """The plaintext at ``positions``, or everywhere; c0 carries residues for these coefficients only.

        Raises MalformedError when the bytes are not a ciphertext of this parameter set.
        """
        context = self.context
        residues = np.zeros((2, len(context.answer_primes), context.degree), dtype=np.uint64)
        where = slice(None) if positions is None else positions
        count = context.degree if positions is None else len(positions)
        residues[0][:, where] = context.unpack_polynomial(c0, count, answer=True)
        residues[1] = context.unpack_polynomial(c1, context.degree, answer=True)
        if not residues[1].any():
            raise MalformedError("a ciphertext with a zero second polynomial hides nothing")
        plain = seal.Plaintext()
        self._decryptor.decrypt(context.answer(residues), plain)
        return context.coefficients(plain)[where]


class Evaluator:
    """Computes on ciphertexts under a key holder's public key, with its own small plaintexts.

    The key's second polynomial is derived here from a seed: a key holder that chose it would read X
    (vfl.arithmetic.public_key).
    """

    def __init__(self, context: Context, public_key: bytes) -> None:
        self.context = context
        self.public_key = public_key
        self._key = context.key(unpack_key(public_key, context.key_primes, context.degree))
        self._encryptor = seal.Encryptor(context.seal, self._key)
        self._evaluator = seal.Evaluator(context.seal)

    def load(self, data: bytes) -> Ciphertext:
        """A received ciphertext, checked, in NTT form. Raises MalformedError."""
        cipher = self.context.from_block(data)
        self._evaluator.transform_to_ntt_inplace(cipher)
        return cipher

    def plain(self, coefficients: U64) -> Plain | None:
        """A plaintext in NTT form; None for the zero polynomial, which SEAL refuses to multiply by."""
        if not coefficients.any():
            return None
        plain = self.context.plain(coefficients)
        self._evaluator.transform_to_ntt_inplace(plain, self.context.seal.first_parms_id())
        return plain

    def fresh_zero(self) -> Ciphertext:
        """A public-key encryption of zero; each is used once."""
        cipher: Ciphertext = seal.Ciphertext(self.context.seal)
        self._encryptor.encrypt_zero(self.context.answer_parms, cipher)
        return cipher

    def combine(self, ciphers: Sequence[Ciphertext], plains: Sequence[Plain | None]) -> Ciphertext | None:
        """Sum of cipher * plain over the pairs, at the answer's primes; None when every plaintext is zero."""
        total: Ciphertext | None = None
        for cipher, plain in zip(ciphers, plains, strict=True):
            if plain is None:
                continue
            term: Ciphertext = seal.Ciphertext(self.context.seal)
            self._evaluator.multiply_plain(cipher, plain, term)
            if total is None:
                total = term
            else:
                self._evaluator.add_inplace(total, term)
        if total is not None:
            self._evaluator.transform_from_ntt_inplace(total)
            if self.context.dropped:
                self._evaluator.mod_switch_to_inplace(total, self.context.answer_parms)
        return total

    def finish(
        self, total: Ciphertext | None, zero: Ciphertext, positions: NDArray[np.int64] | None, stream: SecretStream
    ) -> tuple[bytes, bytes, U64]:
        """Make an output ciphertext safe to send: (c0 at ``positions`` or everywhere, c1, our share there).

        ``zero`` must be a fresh public-key encryption of zero: it randomises c1, which otherwise is
        the key holder's own polynomial times our plaintext. The mask is uniform in R_q, so it hides
        the noise as well as the message; c0 outside ``positions`` is not sent at all.
        """
        context = self.context
        if total is not None:
            self._evaluator.add_inplace(zero, total)
        residues = context.residues(zero, len(context.answer_primes))
        masked = residues[0] if positions is None else residues[0][:, positions]
        mask, share = context.masks.draw(stream, masked.shape[1])
        masked -= mask
        for row, prime in zip(masked, context.answer_primes, strict=True):
            # a difference below zero has wrapped past 2**64, far above its prime
            np.add(row, np.uint64(prime), out=row, where=row >= np.uint64(prime))
        return context.pack_polynomial(masked), context.pack_polynomial(residues[1]), share


def raw_operations(key: KeyHolder, evaluator: Evaluator) -> dict[str, Callable[[], object]]:
    """Each SEAL operation that a product cannot do without, alone, for benchmarks to time.

    ``expand``: loading a ciphertext whose second polynomial is a seed. ``switch`` is slot mode's alone.
    """
    context = key.context
    parms = context.seal.first_parms_id()
    words = np.arange(1, context.degree + 1, dtype=np.uint64)
    plain, lifted, result = context.plain(words), seal.Plaintext(), seal.Plaintext()
    cipher, other = context.from_block(key.encrypt(words)), seal.Ciphertext(context.seal)
    in_ntt, product, answer = (seal.Ciphertext(context.seal) for _ in range(3))
    engine = evaluator._evaluator
    engine.transform_to_ntt(cipher, in_ntt)
    engine.transform_to_ntt(plain, parms, lifted)
    engine.multiply_plain(in_ntt, lifted, product)
    engine.mod_switch_to(cipher, context.answer_parms, answer)
    context.from_block(key.encrypt(words))  # what "expand" finds in the file
    return {
        "encrypt": lambda: key._encryptor.encrypt_symmetric(plain, other),
        "expand": lambda: other.load(context.seal, context._path),
        "zero": lambda: evaluator._encryptor.encrypt_zero(context.answer_parms, other),
        "decrypt": lambda: key._decryptor.decrypt(answer, result),
        "ntt": lambda: engine.transform_to_ntt(cipher, other),
        "inverse_ntt": lambda: engine.transform_from_ntt(in_ntt, other),
        "plain_ntt": lambda: engine.transform_to_ntt(plain, parms, lifted),
        "multiply": lambda: engine.multiply_plain(in_ntt, lifted, other),
        "add": lambda: engine.add_inplace(product, product),
        "switch": lambda: engine.mod_switch_to(cipher, context.answer_parms, other),
    }
