"""Signed heads of audit logs: what a log's owner cannot take back, and what a reader checks about the next one.

Pure. A head says "at this size my log had this root". Whoever holds two heads of one log can tell whether the second
continues the first; one who shows different logs to different readers, or cuts a log short, signs the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ConfigDict, Field, StringConstraints, ValidationError

from parties.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from vfl.terms import Terms

__all__ = [
    "Head",
    "Inclusion",
    "check_head",
    "check_inclusion",
    "continues",
    "head_message",
    "make_head",
    "why_malformed",
]

_DOMAIN = b"entente/log-head/1\x00"
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Size = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Proof = Annotated[tuple[_Hash, ...], Field(max_length=128)]


class _Strict(Terms):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Head(_Strict):
    """A signed head of ``log`` (its owner's name), with a proof that it continues the owner's head of ``since``."""

    log: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    size: _Size
    root: _Hash
    at: Annotated[str, StringConstraints(max_length=40)]
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    since: _Size = 0
    proof: _Proof = ()


class Inclusion(_Strict):
    """An entry, its place, and the path to a signed head: checked offline, with the owner's key alone."""

    entry: Annotated[str, StringConstraints(max_length=1_000_000)]
    index: _Size
    path: _Proof
    head: Head


def head_message(log: str, size: int, root: str, at: str) -> bytes:
    """The bytes a head's signature is over."""
    fields: dict[str, Any] = {"log": log, "size": size, "root": root, "at": at}
    return _DOMAIN + rfc8785.dumps(fields)


def make_head(
    log: str, size: int, root: bytes, at: str, sign: Callable[[bytes], bytes], *, since: int, proof: tuple[bytes, ...]
) -> Head:
    """Sign a head."""
    signature = sign(head_message(log, size, root.hex(), at)).hex()
    hashes = tuple(part.hex() for part in proof)
    return Head(log=log, size=size, root=root.hex(), at=at, signature=signature, since=since, proof=hashes)


def check_head(head: Head, key: bytes) -> bool:
    """Whether the owner of ``key`` (raw Ed25519, 32 bytes) signed it."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(
            bytes.fromhex(head.signature), head_message(head.log, head.size, head.root, head.at)
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def continues(old: Head, new: Head) -> bool | None:
    """Whether ``new`` continues ``old`` of the same log; None when its proof starts elsewhere and cannot tell."""
    if new.size == old.size:
        return new.root == old.root
    if new.size < old.size:
        return False
    if new.since != old.size:
        return None
    proof = [bytes.fromhex(part) for part in new.proof]
    return verify_consistency(old.size, new.size, bytes.fromhex(old.root), bytes.fromhex(new.root), proof)


def check_inclusion(inclusion: Inclusion, key: bytes) -> bool:
    """Whether the entry is in the log that the owner of ``key`` signed."""
    head = inclusion.head
    path = [bytes.fromhex(part) for part in inclusion.path]
    leaf = leaf_hash(inclusion.entry.encode())
    return check_head(head, key) and verify_inclusion(leaf, inclusion.index, head.size, path, bytes.fromhex(head.root))


def why_malformed(error: Exception) -> str:
    """What an entry lacks, in a few words. error: what reading it raised."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"no {error.args[0]}" if isinstance(error, KeyError) else "no JSON object of an entry"
