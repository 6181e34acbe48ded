"""What parties offer to runs, kept beside the event log, so that a restart does not wait for every party to say it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection

from pydantic import ValidationError

from parties.coordinator.lines import Lines
from parties.coordinator.reports import IntroductionBody
from parties.coordinator.store import EventLog
from parties.errors import StorageError

__all__ = ["offered", "offers_before"]

_LOG = logging.getLogger(__name__)


def offered(lines: Lines, log: EventLog, party: str, said: IntroductionBody) -> None:
    """Take an offer in. A database that refuses it costs nothing but the memory of it."""
    lines.introduced(party, said)
    try:
        log.save_offer(party, said.model_dump_json())
    except StorageError as error:
        _LOG.warning("%s: %s", party, error)


def offers_before(lines: Lines, log: EventLog, members: Collection[str]) -> None:
    """Take back what the members offered before a restart."""
    for party, body in log.offers().items():
        if party in members:
            with contextlib.suppress(ValidationError):  # of another version: the party says it again
                lines.introduced(party, IntroductionBody.model_validate_json(body))
