"""An evidence pack made of the parts that its writer has: rendered, listed, signed and packed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import rfc8785

from parties import __version__
from parties.audit.log import AuditLog
from parties.errors import DataError
from parties.evidence import pack
from parties.evidence.checking import check_evidence
from parties.evidence.parts import read_parts
from parties.evidence.report import render_report
from parties.factor.provenance import git_revision, lockfile_sha256
from parties.members.keys import Identity
from parties.members.roster import Member
from vfl.factors.export import Signer, file_facts, sign_bundle
from vfl.factors.verify import MANIFEST, METADATA, SIGNATURES, manifest_of

__all__ = ["NOT_A_RECIPIENT", "factor_files", "log_files", "write_evidence"]

NOT_A_RECIPIENT = "the factor's validation goes to the agreed recipients, and this writer is none"

_LIBRARIES = ("numpy", "pandas", "torch", "tenseal", "cryptography", "pydantic", "rfc8785")
_GUESSABLE = ("columns", "outputs")
_WHY_GUESSABLE = "they are not salted, so that whoever holds the same values would recognise them; entente audit show"
_MOST_BATCHES = _MOST_HEADS = 200


def log_files(log: AuditLog, run_id: str, others: Sequence[str]) -> tuple[dict[str, bytes], list[pack.LeftOut]]:
    """The writer's entries on a run with proofs, and the heads it holds of ``others``' logs and its own."""
    found = log.entries(run_id)
    own = [one for one in found if one.kind not in _GUESSABLE]
    left_out = [pack.LeftOut(what="hashes of own columns and outputs", why=_WHY_GUESSABLE)] if own != found else []
    last = own[-1].index if own else -1
    beside = [one for one in log.entries("") if not one.run_id and one.index <= last]
    batches = [one for one in beside if one.kind == "rows"]
    if len(batches) > _MOST_BATCHES:
        earlier = len(batches) - _MOST_BATCHES
        left_out.append(pack.LeftOut(what=f"{earlier} earlier commitments to rows", why="the latest 200 are here"))
    asked = [one for one in beside if one.kind == "desk" and one.body.get("about") == run_id]
    wanted = sorted((*own, *batches[-_MOST_BATCHES:], *asked), key=lambda one: one.index)
    head = log.head(since=len(log))
    proofs = (log.prove(one.index, head).model_dump_json().encode() + b"\n" for one in wanted)
    heads = [head for name in sorted({*others, log.name}) for head in log.heads(name)[-_MOST_HEADS:]]
    files = {
        pack.LOG: b"".join(proofs),
        pack.HEADS: b"".join(head.model_dump_json().encode() + b"\n" for head in heads),
    }
    return files, left_out


def factor_files(bundle: Mapping[str, bytes]) -> dict[str, bytes]:
    """What of a factor bundle goes into a pack: all but its scores."""
    return {
        f"{pack.FACTOR}{name}": content
        for name, content in bundle.items()
        if name in pack.FACTOR_PARTS or name.startswith(SIGNATURES)
    }


def write_evidence(
    identity: Identity,
    run_id: str,
    files: Mapping[str, bytes],
    left_out: Sequence[pack.LeftOut],
    coordinator: Member | None,
    at: datetime,
) -> bytes:
    """The signed pack, checked as a reader will.

    files: the parts but metadata, report and signature. Raises :class:`DataError` where they do not fit together.
    """
    made = dict(files)
    if coordinator is not None:
        made[pack.COORDINATOR_KEY] = rfc8785.dumps(coordinator.model_dump(mode="json"))
    about = pack.About(
        run_id=run_id,
        writer=identity.name,
        made_at=at.isoformat(timespec="seconds"),
        code_version=__version__,
        git_sha=git_revision(),
        lockfile_sha256=lockfile_sha256(),
        libraries=_libraries(),
        left_out=tuple(left_out),
    )
    made[pack.REPORT] = render_report(read_parts({**made, METADATA: about.model_dump_json().encode()}))
    facts = {name: file_facts(name, content) for name, content in sorted(made.items())}
    made[METADATA] = (about.model_copy(update={"files": facts}).model_dump_json(indent=2) + "\n").encode()
    made[MANIFEST] = manifest_of(made)
    public = bytes.fromhex(identity.public_key)
    data = pack.packed(sign_bundle(made, Signer(identity.name, public, identity.key.sign)))
    check = check_evidence(data)
    if not check.sound:
        raise DataError(
            f"what is kept of run {run_id[:12]} does not fit together: {check.faults[0]}; run entente audit verify"
        )
    return data


def _libraries() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
