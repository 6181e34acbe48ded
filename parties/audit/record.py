"""What a node logs of a session and of an opening, and the data-minimisation report made from it.

Nothing here holds a value: a session's entry has counts, bytes and transcript hashes; an opening's entry has its label,
its size, and a keyed hash of its row ids, which the node can open to an auditor row by row.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from parties.audit.log import Entry
from parties.transport.channel import Channel
from psi.flow import REGISTER
from vfl.protocols.opening_budget import Charge
from vfl.protocols.row_bits import BACKWARD

__all__ = ["Line", "OpeningsLine", "minimisation", "opening_entry", "openings_of", "session_entry"]


def session_entry(channel: Channel, session: str, outcome: str) -> dict[str, Any]:
    """Transcript heads per link and bytes per message type, of a session that has ended."""
    links = sorted(channel.transcripts().items())
    tallies = sorted(channel.meter.tallies().items())
    return {
        "session": session,
        "outcome": outcome,
        "transcripts": [
            {"from": sender, "to": receiver, "messages": head.count, "sha256": head.sha256}
            for (sender, receiver), head in links
        ],
        "traffic": [
            {"way": way, "peer": peer, "message": kind, "messages": tally.messages, "bytes": tally.bytes}
            for (way, peer, kind), tally in tallies
        ],
    }


def opening_entry(charge: Charge, key: bytes) -> dict[str, Any]:
    """One charge to the opening budget. ``key``: 32 secret bytes of the node; without it row ids cannot be guessed."""
    mac = hmac.new(key, charge.label.encode() + b"\x00" + charge.rows.astype("<u4").tobytes(), hashlib.sha256)
    return {"label": charge.label, "rows": len(charge.rows), "width": charge.width, "rows_hmac_sha256": mac.hexdigest()}


@dataclass(frozen=True, slots=True)
class Line:
    """One message type on one link: ``way`` is sent or received, seen from the node whose log it is."""

    way: str
    peer: str
    message: str
    payload: str
    messages: int
    bytes: int
    reveals: str
    source: str


@dataclass(frozen=True, slots=True)
class OpeningsLine:
    """The openings of one session: how many, of how many rows in all, how wide."""

    session: str
    openings: int
    rows: int
    width: int


def minimisation(entries: Iterable[Entry]) -> list[Line]:
    """What a run's sessions moved, by direction, peer and message type, with what the register says it reveals."""
    totals: dict[tuple[str, str, str], tuple[int, int]] = {}
    for entry in entries:
        if entry.kind != "session":
            continue
        for item in entry.body["traffic"]:
            key = (item["way"], item["peer"], item["message"])
            messages, size = totals.get(key, (0, 0))
            totals[key] = (messages + item["messages"], size + item["bytes"])
    lines = []
    for (way, peer, kind), (messages, size) in sorted(totals.items(), key=lambda item: (item[0][0] != "sent", item[0])):
        known = REGISTER.get(kind)
        payload, reveals, source = (known.payload.value, known.reveals, known.source) if known else ("unknown", "", "")
        lines.append(Line(way, peer, kind, payload, messages, size, reveals, source))
    return lines


def openings_of(entries: Iterable[Entry]) -> list[OpeningsLine]:
    """The openings that were charged, by session; backward products are charged in bits and open nothing."""
    found: dict[str, OpeningsLine] = {}
    for entry in entries:
        if entry.kind == "opening" and BACKWARD not in str(entry.body["label"]):
            session = str(entry.body["label"]).partition("/")[0]
            before = found.get(session, OpeningsLine(session, 0, 0, 0))
            rows, width = before.rows + entry.body["rows"], max(before.width, entry.body["width"])
            found[session] = OpeningsLine(session, before.openings + 1, rows, width)
    return list(found.values())
