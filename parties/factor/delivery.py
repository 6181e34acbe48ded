"""Bundles on their way: for whom they may be sealed, sealed files on disk, and folders in which nothing is overwritten.

Whom a bundle is sealed for stands in the agreement, and for a node in this one's roster as well: an identity key that
differs between the two, or a name that has left the roster, gets nothing. The coordinator can add neither.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from parties.agreement.document import Agreement
from parties.audit.bundles import logged_exports
from parties.audit.log import AuditLog
from parties.errors import AgreementError, ConfigError, DataError, StorageError
from parties.factor.sealing import Cover, cover_of, node_reading_key, seal, unseal
from parties.files.folder import files_below
from parties.members.keys import Identity
from parties.members.roster import Member
from parties.names import COORDINATOR
from parties.private_files import write_private
from vfl.factors.verify import MANIFEST, METADATA, verify_bundle
from vfl.protocols.delivery import pack_files, unpack_files

__all__ = [
    "bundle_digest",
    "bundle_report",
    "described",
    "next_version",
    "open_sealed",
    "opener",
    "read_bundle",
    "reading_keys",
    "seal_for",
    "sealer",
    "store_bundle",
    "write_sealed",
]

_LARGEST = 1 << 30


def reading_keys(agreement: Agreement, roster: Mapping[str, Member], only: Collection[str] = ()) -> dict[str, str]:
    """X25519 public keys (hex) of the agreed recipients but the label party, by name; with ``only``, of these alone.

    Raises :class:`AgreementError` for a name that nobody agreed to, and for a member that was revoked or has another
    identity key than was agreed.
    """
    agreed = [name for name in (*agreement.recipients, *agreement.readers) if name != agreement.label.party]
    for name in only:
        if name not in agreed:
            raise AgreementError(f"{name!r} is no agreed recipient; those are {', '.join(agreed) or 'nobody'}")
    keys = dict(agreement.readers)
    for name in agreement.recipients:
        if name == agreement.label.party or (only and name not in only):
            continue
        member = roster.get(name)
        if member is None:
            raise AgreementError(
                f"{name!r} has been revoked since it was agreed as a recipient: nothing is sealed for it; seal for the "
                "others with entente factors seal --for NAME"
            )
        if name != COORDINATOR and member.identity_key != agreement.party(name).identity_key:
            raise AgreementError(
                f"{name!r} has another identity key in the roster than in the agreement: nothing is sealed for it "
                "until an agreement names the new one"
            )
        keys[name] = node_reading_key(member.identity_key)
    return {name: keys[name] for name in agreed if not only or name in only}


def seal_for(agreement: Agreement, identity: Identity, reader: str, key: str, files: Mapping[str, bytes]) -> bytes:
    """The bundle for one reader, signed by us as the label party of ``agreement``."""
    return sealer(agreement, identity, {reader: key}, files)(reader, pack_files(files))


def sealer(
    agreement: Agreement, identity: Identity, keys: Mapping[str, str], files: Mapping[str, bytes]
) -> Callable[[str, bytes], bytes]:
    """What the delivery protocol seals with: reader's name and packed files to a sealed factor."""
    told = described(files)

    def sealed(reader: str, packed: bytes) -> bytes:
        cover = Cover(
            run_id=agreement.run_id,
            factor_id=told["factor_id"],
            version=told["version"],
            sha256=bundle_digest(files),
            sender=identity.name,
            reader=reader,
            key=keys[reader],
        )
        return seal(packed, cover, identity.key.sign)

    return sealed


def opener(agreement: Agreement, reader: str, key: X25519PrivateKey) -> Callable[[bytes], bytes]:
    """What the delivery protocol opens with: a sealed factor of this very run for ``reader``, or ValueError."""
    sender = agreement.label.party
    sender_key = agreement.party(sender).identity_key

    def opened(sealed: bytes) -> bytes:
        cover, packed = unseal(sealed, key, sender_key)
        _require(cover, agreement, reader)
        return packed

    return opened


def _require(cover: Cover, agreement: Agreement, reader: str) -> None:
    """ValueError unless the cover is of this agreement, from its label party to ``reader``."""
    if cover.run_id != agreement.run_id:
        raise ValueError(
            f"was sealed under the agreement {cover.run_id[:12]}, not {agreement.run_id[:12]}: name that one"
        )
    if cover.sender != agreement.label.party:
        raise ValueError(f"was sealed by {cover.sender}, who is not the label party of its run")
    agreed = {**dict.fromkeys(agreement.recipients, cover.key), **agreement.readers}
    if agreed.get(cover.reader) != cover.key:
        raise ValueError(f"is sealed for {cover.reader} under a key that the agreement does not name: do not use it")
    if cover.reader != reader:
        raise ValueError(f"is sealed for {cover.reader}, not for {reader}")


def described(files: Mapping[str, bytes]) -> dict[str, Any]:
    """A verified bundle's metadata."""
    record: dict[str, Any] = json.loads(files[METADATA])
    return record


def bundle_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 of the bundle's manifest, hex: what audit logs and covers call the bundle by."""
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def bundle_report(files: Mapping[str, bytes], folder: Path) -> dict[str, Any]:
    """What a node says of the bundle in ``folder`` to the coordinator."""
    return {
        "factor_id": folder.parent.name,
        "version": folder.name,
        "sha256": bundle_digest(files),
        "bytes": sum(map(len, files.values())),
    }


def write_sealed(
    folder: Path,
    agreement: Agreement,
    identity: Identity,
    keys: Mapping[str, str],
    files: Mapping[str, bytes],
    audit: AuditLog,
) -> list[Path]:
    """A sealed file for each of ``keys``, below ``folder``, logged before it is written. One that is there stays."""
    written = []
    for reader, key in keys.items():
        sealed = seal_for(agreement, identity, reader, key, files)
        cover = cover_of(sealed)
        path = folder / cover.file_name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                audit.append("sealed", agreement.run_id, cover.model_dump(mode="json", exclude={"run_id", "sender"}))
                partial = path.with_name(path.name + ".part")
                write_private(partial, sealed)
                partial.rename(path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror}); check disk and permissions") from None
        written.append(path)
    return written


def open_sealed(
    path: Path, key: X25519PrivateKey, sender_key: Callable[[Cover], str], agreement: Agreement | None, reader: str = ""
) -> tuple[Cover, dict[str, bytes]]:
    """Open a sealed file and verify the bundle in it against its sender's identity key.

    ``sender_key`` looks the sender up where the reader trusts (roster or agreement). With an agreement the cover must
    be of it. Raises :class:`DataError` with the file and what is wrong; one under another version's name is refused.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path}: is larger than any factor; ask for it again")
        sealed = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a sealed factor") from None
    try:
        known = sender_key(cover_of(sealed))
        cover, packed = unseal(sealed, key, known)
        if agreement is not None:
            _require(cover, agreement, reader or cover.reader)
        if path.name != cover.file_name:
            raise ValueError(
                f"is factor {cover.factor_id}, version {cover.version}, for {cover.reader}, under another name: if "
                f"that is the one you want, call the file {cover.file_name}"
            )
        files = unpack_files(packed)
        verify_bundle(files, trusted={cover.sender: bytes.fromhex(known)}).require()
        if (described(files)["factor_id"], described(files)["version"]) != (cover.factor_id, cover.version) or (
            bundle_digest(files) != cover.sha256
        ):
            raise ValueError("holds another bundle than its cover says")
        for proof in logged_exports(files, {cover.sender: bytes.fromhex(known)}):
            if proof.fault:
                raise ValueError(f"holds a proof by {proof.signer} that {proof.fault}")
    except (ValueError, KeyError) as error:
        raise DataError(f"{path}: {error}") from None
    return cover, files


def store_bundle(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write a verified bundle to ``root/factor_id/version``, whole or not at all.

    The same bundle again changes nothing; another under the same version is refused, so no version is ever overwritten.
    """
    told = described(files)
    folder = root / str(told["factor_id"]) / str(told["version"])
    if root.resolve() not in folder.resolve().parents or folder.parent == root:
        raise DataError(f"factor {told['factor_id']!r}, version {told['version']!r}: cannot be folder names")
    if folder.exists():
        if folder.is_dir() and read_bundle(folder) == dict(files):
            return folder
        raise StorageError(f"{folder}: holds another bundle of this version; no version is overwritten, move it away")
    partial = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for name, content in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            write_private(partial / name, content)
        partial.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder}: the factor cannot be written ({error.strerror}); check the disk") from None
    return folder


def next_version(folder: Path) -> str:
    """The first free version after the one in ``folder``, whose versions lie beside it: V, V-2, V-3, ..."""
    base, number = folder.name, 1
    head, dash, tail = base.rpartition("-")
    if dash and tail.isdigit() and (folder.parent / head).is_dir():
        base = head
    while (folder.parent / (base if number == 1 else f"{base}-{number}")).exists():
        number += 1
    return f"{base}-{number}"


def read_bundle(folder: Path) -> dict[str, bytes]:
    """The bundle's files as they lie there."""
    try:
        return files_below(folder)
    except OSError as error:
        raise StorageError(f"{folder}: the factor cannot be read ({error.strerror}); check the disk") from None
