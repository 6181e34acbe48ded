"""Check a factor bundle without trusting it: hashes, missing and extra files, signatures.

The manifest is read first; a file's own content is never parsed before its hash fits. Nothing raises on bad
bytes: every fault is in the report, and a bundle without a valid signature is not sound.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["MANIFEST", "METADATA", "SIGNATURES", "Fault", "Signature", "VerifyReport", "manifest_of", "verify_bundle"]

MANIFEST = "SHA256SUMS"
METADATA = "metadata.json"
SIGNATURES = "signatures/"

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.][A-Za-z0-9_./-]*)")


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: the file and the first fact that differs."""

    file: str
    fact: str

    def __str__(self) -> str:
        return f"{self.file}: {self.fact}"


@dataclass(frozen=True)
class Signature:
    """A signature over the manifest that fits its key. ``trusted``: the reader holds that key for that name."""

    signer: str
    key: str
    trusted: bool


@dataclass(frozen=True)
class VerifyReport:
    """What verification found. ``ok`` says that every file is as signed, ``authentic`` that a trusted key signed it."""

    files: int
    faults: tuple[Fault, ...]
    signatures: tuple[Signature, ...]

    @property
    def ok(self) -> bool:
        return not self.faults and bool(self.signatures)

    @property
    def authentic(self) -> bool:
        return self.ok and any(signature.trusted for signature in self.signatures)

    def __bool__(self) -> bool:
        return self.ok

    def require(self) -> None:
        """Raise ValueError with the first fault unless the bundle is as signed."""
        if not self.ok:
            more = f" (and {len(self.faults) - 1} more faults)" if len(self.faults) > 1 else ""
            raise ValueError(f"the factor bundle is not as signed: {self.faults[0]}{more}; fetch it again")


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """``SHA256SUMS`` of the files as coreutils writes and checks it, sorted by name; itself and signatures left out."""
    covered = sorted(name for name in files if name != MANIFEST and not name.startswith(SIGNATURES))
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in covered).encode("ascii")


def verify_bundle(
    files: Mapping[str, bytes], *, trusted: Mapping[str, bytes] | None = None, excerpt: bool = False
) -> VerifyReport:
    """Check a bundle given as file name -> bytes. Never raises on what the files hold.

    ``trusted`` maps signer names to raw Ed25519 public keys (32 bytes) known from elsewhere, such as the roster.
    When it is given, a signature by any other key is a fault and one by a trusted key is needed. Without it a bundle
    can be found intact but not authentic: whoever changes a file can sign again with a key of their own.
    ``excerpt``: files that the manifest lists may be left out; what is there must be as signed all the same.
    """
    faults: list[Fault] = []
    listed = _manifest(files, faults)
    facts = _recorded_facts(files, listed)
    for name, expected in listed.items():
        if name not in files:
            if not excerpt:
                faults.append(Fault(name, f"is missing, though {MANIFEST} lists it"))
        else:
            fact = _first_difference(files[name], expected, facts.get(name, {}))
            if fact:
                faults.append(Fault(name, fact))
    if MANIFEST in files:
        covered = {MANIFEST, *listed}
        extra = sorted(name for name in files if name not in covered and not name.startswith(SIGNATURES))
        faults.extend(Fault(name, f"is not listed in {MANIFEST}") for name in extra)
        if METADATA not in listed:
            faults.append(Fault(METADATA, f"is not listed in {MANIFEST}, though every bundle has one"))
    signatures = _signatures(files, trusted, faults)
    if not any(signature.trusted for signature in signatures) and trusted is not None:
        known = ", ".join(trusted) or "none given"
        faults.append(Fault(SIGNATURES, f"no valid signature by a trusted signer ({known})"))
    elif not signatures:
        faults.append(Fault(SIGNATURES, f"no valid signature over {MANIFEST}"))
    return VerifyReport(len(files), tuple(faults), signatures)


def _manifest(files: Mapping[str, bytes], faults: list[Fault]) -> dict[str, str]:
    """File name -> SHA-256 (hex) as the manifest lists them."""
    if MANIFEST not in files:
        faults.append(Fault(MANIFEST, "is missing, so no file can be checked"))
        return {}
    listed: dict[str, str] = {}
    lines = files[MANIFEST].decode("latin-1").split("\n")
    if lines.pop() != "":
        faults.append(Fault(MANIFEST, "does not end with a line break"))
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if not found or ".." in found[2].split("/") or found[2] == MANIFEST or found[2].startswith(SIGNATURES):
            faults.append(Fault(MANIFEST, f"line {number} is not a SHA-256 and a file name of the bundle"))
        elif found[2] in listed:
            faults.append(Fault(MANIFEST, f"line {number} lists {found[2]} again"))
        else:
            listed[found[2]] = found[1]
    return listed


def _recorded_facts(files: Mapping[str, bytes], listed: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Size and line counts that the metadata records per file, once its own hash fits."""
    if METADATA not in files or hashlib.sha256(files[METADATA]).hexdigest() != listed.get(METADATA):
        return {}
    try:
        recorded = json.loads(files[METADATA])["files"]
        return {name: {fact: int(value) for fact, value in facts.items()} for name, facts in recorded.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def _first_difference(content: bytes, expected: str, facts: Mapping[str, int]) -> str:
    """Why the content is not the one hashed, by the most telling fact; "" when it is."""
    found = hashlib.sha256(content).hexdigest()
    if found == expected:
        return ""
    counted = {"lines": content.count(b"\n"), "bytes": len(content)}
    for fact, count in counted.items():
        if facts.get(fact, count) != count:
            return f"was changed: {count} {fact}, {facts[fact]} were signed"
    return f"was changed: SHA-256 {found[:16]}..., {expected[:16]}... was signed"


def _signatures(
    files: Mapping[str, bytes], trusted: Mapping[str, bytes] | None, faults: list[Fault]
) -> tuple[Signature, ...]:
    """The signatures that fit, each faulty one reported. Proofs of logging (.log) are for whoever knows logs."""
    names = sorted(name for name in files if name.startswith(SIGNATURES))
    signers = sorted({name[len(SIGNATURES) :].rsplit(".", 1)[0] for name in names if not name.endswith(".log")})
    faults.extend(
        Fault(name, "is neither a signature (.sig) nor a public key (.pub)")
        for name in names
        if not name.endswith((".sig", ".pub", ".log"))
    )
    valid: list[Signature] = []
    for signer in signers:
        place = f"{SIGNATURES}{signer}.sig"
        signature, pem = files.get(place), files.get(f"{SIGNATURES}{signer}.pub")
        if signature is None or pem is None:
            missing = place if signature is None else f"{SIGNATURES}{signer}.pub"
            faults.append(Fault(missing, "is missing: a signature and its public key come in pairs"))
            continue
        key = _public_key(pem)
        if key is None:
            faults.append(Fault(f"{SIGNATURES}{signer}.pub", "is not an Ed25519 public key in PEM"))
            continue
        raw = key.public_bytes_raw()
        known = trusted is not None and trusted.get(signer) == raw
        try:
            key.verify(signature, files.get(MANIFEST, b""))
        except InvalidSignature:
            faults.append(Fault(place, f"does not fit {MANIFEST}"))
            continue
        if trusted is not None and not known:
            faults.append(Fault(f"{SIGNATURES}{signer}.pub", f"is not the key that {signer!r} is known by"))
        valid.append(Signature(signer, raw.hex(), known))
    return tuple(valid)


def _public_key(pem: bytes) -> Ed25519PublicKey | None:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None
