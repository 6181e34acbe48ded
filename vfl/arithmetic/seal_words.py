"""SEAL's objects from words and back: what a context has beside arithmetic, and the transform of slot mode."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow
import tenseal.sealapi as seal
from numpy.typing import NDArray

from vfl.arithmetic import seal_format as form
from vfl.arithmetic.prime_ring import PRIME
from vfl.arithmetic.seal_objects import Ciphertext, Plain, PublicKeyObject, SealObject

__all__ = ["SealWords", "SlotTransform"]

U64 = NDArray[np.uint64]
Object = TypeVar("Object", bound=SealObject)
_new_cipher: Callable[[], Ciphertext] = seal.Ciphertext
_new_plain: Callable[[], Plain] = seal.Plaintext


class SealWords:
    """SEAL objects of one SEAL context, built from words, and the words of our own ones. Threads may share it."""

    def __init__(self, made: Any, degree: int) -> None:
        self.seal = made
        self.degree = degree
        self.engine = seal.Evaluator(made)
        self._file, self._lock = os.memfd_create("entente-seal"), threading.Lock()
        weakref.finalize(self, os.close, self._file)
        self._path = f"/proc/self/fd/{self._file}"
        self._codec = pyarrow.Codec("zstd")
        self._patterns: dict[tuple[Any, ...], Any] = {}

    def _load(self, target: Object, body: bytes, words: U64) -> Object:
        with self._lock:
            os.pwritev(self._file, form.framed(body, words), 0)
            target.load(self.seal, self._path)
        return target

    def loaded_plain(self, words: U64, parms: Sequence[int] = (0, 0, 0, 0)) -> Plain:
        return self._load(_new_plain(), form.PLAIN.pack(*parms, words.size, 1.0), words)

    def loaded(self, target: Object, parms: Sequence[int], ntt: bool, residues: U64) -> Object:
        body = form.CIPHER.pack(*parms, ntt, 2, self.degree, residues.shape[1], 1.0, 1)
        return self._load(target, body, residues)

    def plain(self, coefficients: U64) -> Plain:
        """A plaintext polynomial with the given coefficients below the plaintext modulus."""
        if coefficients.size != self.degree or not self._direct:
            return self.loaded_plain(coefficients)
        pattern = self._patterns.get(())
        if pattern is None:
            pattern = self._patterns[()] = self.loaded_plain(np.ones(self.degree, dtype=np.uint64))
        made: Plain = seal.Plaintext(pattern)
        form.PLAIN_LAYOUT.write(made, coefficients)
        return made

    def cipher(self, parms: Sequence[int], residues: U64, *, ntt: bool) -> Ciphertext:
        """A ciphertext of residues (2, primes, degree) below their primes."""
        if not self._direct:
            return self.loaded(_new_cipher(), parms, ntt, residues)
        kind = (*parms, ntt)
        pattern = self._patterns.get(kind)
        if pattern is None:
            pattern = self._patterns[kind] = self.loaded(_new_cipher(), parms, ntt, np.ones_like(residues))
        made = _new_cipher()
        self.engine.negate(pattern, made)  # the one way to copy an object here that SEAL offers
        form.CIPHER_LAYOUT.write(made, residues)
        return made

    def residues(self, cipher: Ciphertext | PublicKeyObject, primes: int) -> U64:
        """Residues (2, primes, degree) of one of our own ciphertexts or keys."""
        return self._words(cipher, form.CIPHER_LAYOUT, 2 * primes * self.degree).reshape(2, primes, self.degree)

    def words_of(self, plain: Plain, count: int) -> U64:
        """The first ``count`` words of one of our own plaintexts."""
        return self._words(plain, form.PLAIN_LAYOUT, count)

    def _words(self, source: SealObject, layout: form.Layout, count: int) -> U64:
        """A copy of the u64 words of one of our own SEAL objects."""
        read = layout.read(source, count) if self._direct else None
        return self._saved_words(source, layout.body, count).copy() if read is None else read

    def kept_in_a_file(self, source: SealObject) -> str:
        """The name of a file with an object as SEAL saves it, until another one is loaded or saved here."""
        with self._lock:
            os.ftruncate(self._file, 0)
            source.save(self._path)
        return self._path

    def _saved_words(self, source: SealObject, skip: int, count: int) -> U64:
        """The same through SEAL's own (compressed) save, after ``skip`` bytes of the body."""
        body = self._saved(source, skip + 24 + 8 * count)
        return np.frombuffer(body, dtype="<u8", count=count, offset=skip + 24)

    def _saved(self, source: SealObject, size: int) -> bytes:
        """The body of ``size`` bytes that SEAL writes for one of our own objects."""
        self.kept_in_a_file(source)
        with self._lock:
            raw = os.pread(self._file, os.fstat(self._file).st_size, 0)
        if not form.is_compressed(raw):
            return raw[16:]
        body: bytes = self._codec.decompress(raw[16:], decompressed_size=size, asbytes=True)
        return body

    @cached_property
    def _direct(self) -> bool:
        """Whether words in memory are those that SEAL saves, read and written, on a random object of each type."""
        parms = self.seal.first_context_data().parms()
        primes = [q.value() for q in parms.coeff_modulus()]
        words = np.frombuffer(os.urandom(8 * self.degree), dtype="<u8")
        plain = self.loaded_plain(words % np.uint64(parms.plain_modulus().value()) | np.uint64(1))
        residues = np.stack([np.stack([words % np.uint64(q) for q in primes])] * 2)
        cipher = self.loaded(_new_cipher(), self.seal.first_parms_id(), False, residues)
        pairs = ((plain, form.PLAIN_LAYOUT, self.degree), (cipher, form.CIPHER_LAYOUT, 2 * len(primes) * self.degree))
        for source, layout, count in pairs:
            read = layout.read(source, count)
            if read is None or not np.array_equal(read, self._saved_words(source, layout.body, count)):
                return False
            other = read[::-1] % np.uint64(min(primes)) if layout is form.CIPHER_LAYOUT else read[::-1].copy()
            layout.write(source, other)
            if not np.array_equal(other, self._saved_words(source, layout.body, count)):
                return False
        return True


class SlotTransform(SealWords):
    """Between slot values and polynomials mod p: SEAL's own negacyclic transform, under a context whose one prime is p.

    The order of the slots is the transform's, which both ends share; SEAL's batch encoder would only permute it.
    """

    def __init__(self, degree: int) -> None:
        parms = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        parms.set_poly_modulus_degree(degree)
        parms.set_coeff_modulus([seal.Modulus(PRIME)])
        parms.set_plain_modulus(seal.Modulus(2))
        super().__init__(seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.TC128), degree)

    def polynomials(self, values: U64) -> U64:
        """Coefficients (k, N) of the polynomials that have ``values`` (k, N) in their slots."""
        return self._through(values, self.engine.transform_from_ntt_inplace, ntt=True)

    def values(self, polynomials: U64) -> U64:
        """Slot values (k, N) of polynomials (k, N)."""
        return self._through(polynomials, self.engine.transform_to_ntt_inplace, ntt=False)

    def _through(self, rows: U64, transform: Callable[[Ciphertext], object], *, ntt: bool) -> U64:
        """Two rows at a time: SEAL's ciphertexts have two polynomials, and it refuses one whose second is zero."""
        out = np.zeros_like(rows)
        alive = np.flatnonzero(rows.any(axis=1))
        for start in range(0, len(alive), 2):
            chosen = alive[start : start + 2]
            both = rows[[chosen[0], chosen[-1]]].reshape(2, 1, self.degree)
            cipher = self.cipher(self.seal.first_parms_id(), both, ntt=ntt)
            transform(cipher)
            out[chosen] = self.residues(cipher, 1)[: len(chosen), 0]
        return out
