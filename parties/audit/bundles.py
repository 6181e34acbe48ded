"""Proof in a factor bundle that its maker's audit log had it: ``signatures/NAME.log``, checked offline.

The proof says that a signed head of the log covers an entry with the bundle's hash. Whoever was shown that head before
the returns existed knows that the factor did too; the signed time alone is the maker's word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from parties.audit.heads import Inclusion, check_inclusion
from parties.audit.log import AuditLog
from vfl.factors.verify import MANIFEST, SIGNATURES

__all__ = ["LoggedExport", "log_export", "logged_exports"]

KIND = "export"


@dataclass(frozen=True, slots=True)
class LoggedExport:
    """Where a bundle stands in its signer's log. ``fault``: what is wrong with the proof, or ""."""

    signer: str
    index: int
    size: int
    at: str
    fault: str = ""


def log_export(
    log: AuditLog, run_id: str, files: Mapping[str, bytes], factor_id: str, version: str
) -> dict[str, bytes]:
    """Log the bundle's hash, and return its files with the proof that it is logged."""
    digest = hashlib.sha256(files[MANIFEST]).hexdigest()
    index = log.append(KIND, run_id, {"factor_id": factor_id, "version": version, "sha256": digest})
    inclusion = log.prove(index, log.head())
    return {**files, f"{SIGNATURES}{log.name}.log": inclusion.model_dump_json().encode()}


def logged_exports(files: Mapping[str, bytes], keys: Mapping[str, bytes]) -> list[LoggedExport]:
    """Check every proof in the bundle. ``keys``: raw Ed25519 keys by signer. Never raises on what the files hold."""
    return [
        _check(name[len(SIGNATURES) : -4], files[name], files.get(MANIFEST, b""), keys)
        for name in sorted(files)
        if name.startswith(SIGNATURES) and name.endswith(".log")
    ]


def _check(signer: str, data: bytes, manifest: bytes, keys: Mapping[str, bytes]) -> LoggedExport:
    try:
        inclusion = Inclusion.model_validate_json(data)
        entry = json.loads(inclusion.entry)
        kind, body, at = entry["kind"], entry["body"], str(entry["at"])
        logged = body["sha256"]
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError):
        return LoggedExport(signer, 0, 0, "", "is not a proof of inclusion")
    place = LoggedExport(signer, inclusion.index, inclusion.head.size, at)
    fault = ""
    if signer not in keys or inclusion.head.log != signer or not check_inclusion(inclusion, keys[signer]):
        fault = f"does not prove that {signer}'s log holds the entry"
    elif kind != KIND or logged != hashlib.sha256(manifest).hexdigest():
        fault = "proves an entry of another bundle"
    return LoggedExport(place.signer, place.index, place.size, place.at, fault)
