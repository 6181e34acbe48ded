"""Sealed factors: a bundle that one reader's key opens, signed by the label party, bound to run, version and reader.

What is sealed is encrypted by HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305) and carries a cover
that anybody can read: from whom, for whom, of which run and version. The label party signs cover and ciphertext with
the identity key that the agreement names, so nobody else can seal for a reader, and no cover fits another content.

A node's reading key is its identity key in Montgomery form, so that whoever knows a member by its roster entry knows
the key to seal for, and nobody hands out another. Source: Thormarker, "On using the same key pair for Ed25519 and an
X25519 based KEM", IACR ePrint 2021/509, which shows this use of both safe together; RFC 7748 section 4.1 for the map.
A reader without a node has an X25519 key of its own, which the agreement lists.

    entente/sealed/1
    {"factor_id": ..., "key": ..., "reader": ..., "run_id": ..., "sender": ..., "sha256": ..., "version": ...}
    64 bytes of signature, then HPKE's encapsulated key and ciphertext
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

import rfc8785
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import StringConstraints, ValidationError

from parties.names import PartyName
from vfl.terms import Terms

__all__ = ["SUFFIX", "Cover", "cover_of", "node_reading_key", "reading_key", "reading_public_key", "seal", "unseal"]

SUFFIX = ".sealed"

_MAGIC = b"entente/sealed/1\n"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SIGNATURE = 64
_LONGEST_COVER = 2000
_PRIME = 2**255 - 19

_Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class Cover(Terms):
    """What stands outside, signed. ``key``: the reader's X25519 public key; ``sha256``: of the bundle's SHA256SUMS."""

    run_id: _Hex32
    factor_id: _Label
    version: _Label
    sha256: _Hex32
    sender: PartyName
    reader: PartyName
    key: _Hex32

    @property
    def file_name(self) -> str:
        """What the sealed file is called, so that one version cannot pass for another by its name."""
        return f"{self.factor_id}.{self.version}.{self.reader}{SUFFIX}"

    def line(self) -> bytes:
        return rfc8785.dumps(self.model_dump(mode="json")) + b"\n"


def reading_key(identity: Ed25519PrivateKey) -> X25519PrivateKey:
    """The key that opens what is sealed for a node, from its identity key."""
    # RFC 8032 section 5.1.5: the scalar of the key pair, which X25519 clamps in the same way
    return X25519PrivateKey.from_private_bytes(hashlib.sha512(identity.private_bytes_raw()).digest()[:32])


def node_reading_key(identity_key: str) -> str:
    """The X25519 public key (hex) that belongs to a node's identity key (Ed25519, hex). ValueError for no such key."""
    y = int.from_bytes(bytes.fromhex(identity_key), "little") & ((1 << 255) - 1)
    u = (1 + y) * pow(1 - y, -1, _PRIME) % _PRIME
    if u == 0:
        raise ValueError("this identity key cannot be sealed for")
    return u.to_bytes(32, "little").hex()


def reading_public_key(key: X25519PrivateKey) -> str:
    """The public half, hex: what an agreement lists of a reader without a node."""
    return key.public_key().public_bytes_raw().hex()


def seal(packed: bytes, cover: Cover, sign: Callable[[bytes], bytes]) -> bytes:
    """``packed`` for ``cover.key`` alone. ``sign``: Ed25519 by the sender's identity key."""
    line = cover.line()
    public = X25519PublicKey.from_public_bytes(bytes.fromhex(cover.key))
    closed = _SUITE.encrypt(packed, public, _MAGIC + line)
    return _MAGIC + line + sign(_signed(line, closed)) + closed


def cover_of(sealed: bytes) -> Cover:
    """What the cover says, not yet verified. Raises ValueError where there is none."""
    return _parts(sealed)[0]


def unseal(sealed: bytes, key: X25519PrivateKey, sender_key: str) -> tuple[Cover, bytes]:
    """What ``sender_key`` (Ed25519 public key, hex) sealed for ``key``: cover and content.

    Raises ValueError with what is wrong, as the end of a sentence: made by another key than the sender's, changed or
    cut short, or sealed for another key. Whether sender, reader, run and version are the expected ones is the caller's.
    """
    cover, line, signature, closed = _parts(sealed)
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(sender_key)).verify(signature, _signed(line, closed))
    except InvalidSignature:
        raise ValueError(
            f"was not sealed by {cover.sender}'s identity key, or was changed or cut short since: ask for it again"
        ) from None
    mine = reading_public_key(key)
    if cover.key != mine:
        raise ValueError(
            f"is sealed for {cover.reader}'s key {cover.key[:16]}..., not for this one ({mine[:16]}...): open it with "
            f"that key, or have an agreement name the new one and ask {cover.sender} to seal it again"
        )
    try:
        return cover, _SUITE.decrypt(closed, key, _MAGIC + line)
    except InvalidTag:
        raise ValueError(f"cannot be opened with the key it names: ask {cover.sender} to seal it again") from None


def _parts(sealed: bytes) -> tuple[Cover, bytes, bytes, bytes]:
    """Cover, its line, signature, and ciphertext."""
    start = len(_MAGIC)
    end = sealed.find(b"\n", start, start + _LONGEST_COVER) + 1
    if not sealed.startswith(_MAGIC) or not end:
        raise ValueError("is no sealed factor")
    line = sealed[start:end]
    try:
        cover = Cover.model_validate_json(line)
    except ValidationError:
        raise ValueError("is no sealed factor that this version can read") from None
    if cover.line() != line or len(sealed) < end + _SIGNATURE:
        raise ValueError("was changed or cut short: ask for it again")
    return cover, line, sealed[end : end + _SIGNATURE], sealed[end + _SIGNATURE :]


def _signed(line: bytes, closed: bytes) -> bytes:
    # the magic is a domain tag: no other document that an identity key signs begins so
    return _MAGIC + hashlib.sha256(line).digest() + hashlib.sha256(closed).digest()
