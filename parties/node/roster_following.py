"""What a node makes of the roster that the coordinator tells: it introduces members, and cannot exchange them.

A member this node knows keeps its identity key for good; a new certificate or address counts only when that key signed
it. So a coordinator can introduce a stranger under a new name, and drop a member, but never take a known one's place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from parties.errors import ConfigError
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR

__all__ = ["followed"]

_LOG = logging.getLogger(__name__)


def followed(me: str, known: Mapping[str, Member], told: Mapping[str, Member]) -> dict[str, Member]:
    """The members to hold from now on. What is refused is logged and left as it was known."""
    members: dict[str, Member] = {}
    for name in sorted({*known, *told}):
        before, after = known.get(name), told.get(name)
        if before is None:
            assert after is not None
            if not after.endorsed(name):
                _LOG.error("roster: %s is new, but its own key has not signed its entry: refused", name)
                continue
            _LOG.info("roster: %s is new at %s; identity %s", name, after.address, after.identity_key)
            members[name] = after
        elif after is None:
            if name in (me, COORDINATOR):
                members[name] = before
            else:
                _LOG.warning("roster: %s is no longer a member", name)
        elif after == before:
            members[name] = before
        elif after.identity_key != before.identity_key or not after.endorsed(name):
            _LOG.error("roster: %s's new entry is not signed by the identity key known here: refused", name)
            members[name] = before
        else:
            if after.certificate_sha256 != before.certificate_sha256:
                _LOG.info("roster: %s has a new certificate, until %s", name, after.expires.date())
            if after.legal_entity != before.legal_entity:
                was, now = before.legal_entity or "nobody", after.legal_entity or "nobody"
                _LOG.warning("roster: %s said it belongs to %s, and says %s now", name, was, now)
            members[name] = after
    try:
        Roster(members)
    except ConfigError as error:
        _LOG.error("roster: %s: kept as it was", error)
        return dict(known)
    return members
