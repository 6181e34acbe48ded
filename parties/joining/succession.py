"""When the coordinator shows another certificate than the roster names: its successor, or somebody else's."""

from __future__ import annotations

import hashlib
import logging
import ssl
from pathlib import Path

from parties.errors import EntenteError
from parties.members.roster import Roster, succeeds
from parties.names import COORDINATOR
from parties.transport.pinned import shown_at

__all__ = ["adopt_successor"]

_LOG = logging.getLogger(__name__)


def adopt_successor(home: Path, address: str = "") -> bool:
    """Take the coordinator's new certificate into the roster of ``home`` if its known identity key signed it.

    False: nobody answers, the certificate is the known one, or it is not a successor; the roster is as it was.
    """
    path = home / "roster.json"
    try:
        roster = Roster.load(path)
        known = roster.member(COORDINATOR)
        shown = shown_at(address or known.address, timeout=5.0)
    except EntenteError:
        return False
    if not succeeds(COORDINATOR, known, shown):
        return False
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.decode("ascii"))).hexdigest()
    renewed = known.model_copy(
        update={"certificate": shown.decode("ascii"), "certificate_sha256": digest, "endorsement": ""}
    )
    try:
        Roster({**roster, COORDINATOR: renewed}).save(path)
    except (EntenteError, OSError) as error:
        _LOG.error("roster kept as it was: %s", error)
        return False
    _LOG.info("the coordinator has a new certificate, signed by the identity key known here")
    return True
