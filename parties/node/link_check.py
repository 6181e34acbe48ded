"""The links of a run, tried before anything is signed: a TLS handshake with each peer, whose certificate is compared.

A peer that does not answer may not run yet, and a relay may stand in; so nothing is refused here. Who signs is told.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from parties.agreement.document import Agreement
from parties.control.reports import LinkState
from parties.errors import PeerError
from parties.transport.pinned import shown_at

__all__ = ["WARNING", "Links", "try_links"]

WARNING = "warning: "
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Links:
    """lines: for this party's operators; what would keep messages from a peer begins with :data:`WARNING`.

    states: what answered at each peer's address, for everybody who is to sign; empty where no peer is called.
    """

    lines: tuple[str, ...]
    states: Mapping[str, LinkState]


def try_links(agreement: Agreement, me: str, relay: Literal["never", "when_unreachable", "always"]) -> Links:
    """Call each peer's address once."""
    if relay == "always":
        return Links(("Links: all messages go through the coordinator; peers are not called.",), {})
    good, lines, states = list[str](), list[str](), dict[str, LinkState]()
    for party in agreement.parties:
        if party.name == me:
            continue
        began = time.perf_counter()
        try:
            shown = shown_at(party.address, timeout=_PATIENCE_SECONDS)
        except PeerError as error:
            instead = " Messages would go through the coordinator." if relay == "when_unreachable" else ""
            states[party.name] = "silent"
            lines.append(f"{WARNING}no link to {party.name}: {error}.{instead}")
            continue
        took = time.perf_counter() - began
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.decode("ascii"))).hexdigest() != party.certificate_sha256:
            states[party.name] = "other"
            lines.append(
                f"{WARNING}at {party.address} another certificate answers than the one of {party.name} in this "
                "agreement: ask its operator whether the node was rotated, and propose again"
            )
        else:
            states[party.name] = "agreed"
            good.append(f"{party.name} ({1000 * took:.0f} ms)")
    if good:
        lines.insert(0, f"Encrypted links stand, each to the agreed certificate: {', '.join(good)}.")
    return Links(tuple(lines), states)
