"""Usage fees on a node's disk: the key holder's key, reports and totals as files, and which periods were opened.

The messages are those of ``vfl.protocols.fee_reports``; here they travel as files, by whatever way the consortium
sends documents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.agreement.document import Agreement
from parties.errors import AgreementError, ConfigError, LedgerError, StorageError
from parties.members.keys import Identity
from parties.private_files import write_new
from parties.wire.codec import decode, encode
from psi.flow import Message
from vfl.arithmetic.paillier import PaillierKey
from vfl.protocols.fee_messages import FeeTerms

__all__ = [
    "create_fee_key",
    "fee_terms",
    "load_fee_key",
    "minor_amount",
    "opened_once",
    "read_message",
    "write_message",
]

M = TypeVar("M", bound=Message)

KEY_FILE = Path("keys") / "fees.key"
_LARGEST_FILE = 2**20
_NONCE = 12


def fee_terms(agreement: Agreement) -> FeeTerms:
    """The agreement's fee terms, bound to its run id. Raises :class:`AgreementError` where it has none."""
    if agreement.fees is None:
        raise AgreementError("this agreement has no usage fees: agree on [fees] first")
    keys = {party.name: bytes.fromhex(party.identity_key) for party in agreement.parties}
    terms = agreement.fees
    return FeeTerms(agreement.run_id, terms.key_holder, int(terms.modulus, 16), terms.bits, keys)


def minor_amount(text: str, scale: int) -> int:
    """An amount such as ``1250000000.00`` in minor units. Raises :class:`LedgerError` for anything else."""
    try:
        minor = Decimal(text).scaleb(scale)
    except InvalidOperation:
        raise LedgerError(f"{text!r} is no amount: write it as 1250000.00") from None
    if not minor.is_finite() or minor != minor.to_integral_value() or minor < 0:
        raise LedgerError(f"{text!r} is no amount of zero or more with {scale} decimals: write it as 1250000.00")
    return int(minor)


def create_fee_key(home: Path, identity: Identity) -> int:
    """Make the key holder's Paillier key below ``home``, sealed under the node's identity key; returns the modulus.

    Whoever can open the identity key can open it, and nobody else. Raises :class:`ConfigError` when there is one.
    """
    key = PaillierKey()
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(_sealing_key(identity)).encrypt(nonce, json.dumps(key.primes).encode(), None)
    path = home / KEY_FILE
    try:
        write_new(path, nonce + sealed)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; a fee key is never overwritten") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the folder") from None
    return key.shared.modulus


def load_fee_key(home: Path, identity: Identity) -> PaillierKey:
    """The key holder's key. Raises :class:`ConfigError` when it is missing or sealed under another identity."""
    path = home / KEY_FILE
    try:
        content = path.read_bytes()
        primes = json.loads(AESGCM(_sealing_key(identity)).decrypt(content[:_NONCE], content[_NONCE:], None))
    except OSError:
        raise ConfigError(f"{path}: cannot be read; make one with entente fees key") from None
    except (InvalidTag, ValueError):
        raise ConfigError(f"{path}: was not sealed by this node's identity key; restore the right one") from None
    return PaillierKey(primes=(primes[0], primes[1]))


def _sealing_key(identity: Identity) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"entente/fee-key").derive(identity.key.private_bytes_raw())


def opened_once(home: Path, terms: FeeTerms) -> Callable[[str], None]:
    """Records that a period's total is opened, durably and before it is; a second time raises :class:`LedgerError`."""

    def once(period: str) -> None:
        folder = home / "fees" / "opened"
        name = hashlib.sha256(terms.digest + period.encode()).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_new(folder / name, period.encode())
            parent = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)
        except FileExistsError:
            raise LedgerError(
                f"the total of {period!r} was opened before: two totals that differ by one report tell that report"
            ) from None
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({error.strerror}); nothing was opened") from None

    return once


def write_message(path: Path, sender: str, message: Message) -> None:
    """A message as a file: who made it, what it is, and its wire bytes. Never overwrites."""
    kind, body = encode(message)
    head = json.dumps({"from": sender, "kind": kind}).encode()
    try:
        write_new(path, head + b"\n" + body)
    except FileExistsError:
        raise StorageError(f"{path}: exists already; name another file") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); check the folder") from None


def read_message(path: Path, kind: type[M]) -> tuple[str, M]:
    """Who says to have made the file, and its message. Raises :class:`ConfigError` for a file of another kind.

    The wire decoder's :class:`~psi.flow.RemoteProtocolError` tells of damage.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path}: too large for a fee document; name the right file")
        head, _, body = path.read_bytes().partition(b"\n")
        said = json.loads(head)
    except OSError:
        raise ConfigError(f"{path}: cannot be read; name an existing file") from None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, Mapping) or not isinstance(said.get("from"), str) or not isinstance(said.get("kind"), str):
        raise ConfigError(f"{path}: not a fee document; name a file that entente fees wrote")
    if said["kind"] != getattr(kind, "_kind", ""):
        raise ConfigError(f"{path}: holds {said['kind'][:40]!r}, not what is needed here; name the right file")
    message = decode(said["kind"], body, limit=_LARGEST_FILE)
    assert isinstance(message, kind)
    return said["from"], message
