"""Types of SEAL's objects, without code: what passes between this room and the protocols, which cannot look inside.

``tenseal`` has no types. With these a ciphertext is never taken for a plaintext or a key, nor for anything else.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Ciphertext", "Plain", "PublicKeyObject", "SealObject"]


class SealObject(Protocol):
    """What SEAL writes to a file and reads from one."""

    def load(self, context: object, path: str) -> None: ...

    def save(self, path: str) -> None: ...


@runtime_checkable
class Ciphertext(SealObject, Protocol):
    """An encrypted polynomial. Opaque: only :mod:`vfl.arithmetic.he` computes with it."""

    def is_transparent(self) -> bool: ...


@runtime_checkable
class Plain(SealObject, Protocol):
    """A plaintext polynomial, as coefficients or transformed."""

    def coeff_count(self) -> int: ...


class PublicKeyObject(SealObject, Protocol):
    """A public key as SEAL uses it; :mod:`vfl.arithmetic.public_key` has what travels."""

    def data(self) -> Ciphertext: ...
