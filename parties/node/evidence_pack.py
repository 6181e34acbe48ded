"""A party's evidence pack of a run: what its node keeps and logged of it, and nothing that it would not show a peer."""

from __future__ import annotations

from datetime import datetime

import rfc8785

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.errors import StorageError
from parties.evidence import pack
from parties.evidence.writing import NOT_A_RECIPIENT, factor_files, log_files, write_evidence
from parties.factor.delivery import bundle_digest, read_bundle
from parties.names import COORDINATOR
from parties.node.home import NodeHome
from parties.node.kept_approvals import kept_approvals
from vfl.factors.verify import MANIFEST

__all__ = ["evidence_of_node"]

_KEPT = ((pack.LABELS, "label-commitment.json"), (pack.CONTRIBUTION, "contribution.json"))
_WHY_MISSING = {
    pack.LABELS: "the run did not come to its first step, or its model commits to no labels",
    pack.CONTRIBUTION: "the run's contributions were not measured, or not yet",
}


def evidence_of_node(home: NodeHome, run_id: str, at: datetime, replay: bytes = b"") -> bytes:
    """The pack, signed by this party. replay: an auditor's verdict to put in, as ``entente audit replay`` wrote it.

    Raises :class:`StorageError` where something that should be kept is damaged, :class:`DataError` where it does not
    fit together.
    """
    folder = home.folder / "runs" / run_id
    try:
        document = (folder / "agreement.json").read_bytes()
        agreement = Agreement.model_validate_json(document)
    except (OSError, ValueError):
        raise StorageError(f"{folder / 'agreement.json'}: damaged; restore it from a backup") from None
    names = (*(party.name for party in agreement.parties), COORDINATOR)
    files = {pack.AGREEMENT: document}
    left_out = [
        pack.LeftOut(what="the other parties' log entries", why="they are in these parties' own packs"),
        pack.LeftOut(
            what="the journal and the settlement's dossiers", why="the coordinator keeps them; its pack has them"
        ),
    ]
    with home.audit() as log:
        made, without = log_files(log, run_id, names)
        files |= made
        left_out += without
        files[pack.APPROVALS] = rfc8785.dumps(kept_approvals(folder) or _own_approval(log, run_id))
        files |= _factor(home, log, agreement, run_id, left_out)
    for name, kept in _KEPT:
        if (folder / kept).is_file():
            files[name] = (folder / kept).read_bytes()
        else:
            left_out.append(pack.LeftOut(what=name, why=_WHY_MISSING[name]))
    if replay:
        files[pack.REPLAY] = replay
    return write_evidence(home.identity, run_id, files, left_out, home.roster.get(COORDINATOR), at)


def _own_approval(log: AuditLog, run_id: str) -> dict[str, str]:
    """This party's signature from its log, where an earlier version kept no others."""
    signed = [str(one.body["signature"]) for one in log.entries(run_id) if one.kind == "approval"]
    return dict.fromkeys((log.name,), signed[-1]) if signed else {}


def _factor(
    home: NodeHome, log: AuditLog, agreement: Agreement, run_id: str, left_out: list[pack.LeftOut]
) -> dict[str, bytes]:
    """The factor's validation where this party made or received it."""
    for entry in reversed(log.entries(run_id)):
        if entry.kind not in ("export", "received"):
            continue
        place = home.folder / "factors" / str(entry.body["factor_id"]) / str(entry.body["version"])
        if not (place / MANIFEST).is_file():
            left_out.append(pack.LeftOut(what="the factor's validation", why="the bundle is not here any more"))
            return {}
        bundle = read_bundle(place)
        if bundle_digest(bundle) != entry.body["sha256"]:
            raise StorageError(f"{place}: is not the factor that this node logged; restore it from a backup")
        return factor_files(bundle)
    received = home.identity.name in (agreement.label.party, *agreement.recipients)
    why = "the run has exported no factor here" if received else NOT_A_RECIPIENT
    left_out.append(pack.LeftOut(what="the factor's validation", why=why))
    return {}
