"""The links of a run, tried before anything is signed: a TLS handshake with each peer, whose certificate is compared.

A peer that does not answer may not run yet, and a relay may stand in; so nothing is refused here. Who signs is told.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from typing import Literal

from parties.agreement.document import Agreement
from parties.errors import PeerError
from parties.transport.pinned import shown_at

__all__ = ["WARNING", "link_lines"]

WARNING = "warning: "
_PATIENCE_SECONDS = 2.0


def link_lines(agreement: Agreement, me: str, relay: Literal["never", "when_unreachable", "always"]) -> tuple[str, ...]:
    """A line on the link to each peer; what would keep messages from it begins with :data:`WARNING`."""
    if relay == "always":
        return ("Links: all messages go through the coordinator; peers are not called.",)
    good, lines = [], []
    for party in agreement.parties:
        if party.name == me:
            continue
        began = time.perf_counter()
        try:
            shown = shown_at(party.address, timeout=_PATIENCE_SECONDS)
        except PeerError as error:
            instead = " Messages would go through the coordinator." if relay == "when_unreachable" else ""
            lines.append(f"{WARNING}no link to {party.name}: {error}.{instead}")
            continue
        took = time.perf_counter() - began
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.decode("ascii"))).hexdigest() != party.certificate_sha256:
            lines.append(
                f"{WARNING}at {party.address} another certificate answers than the one of {party.name} in this "
                "agreement: ask its operator whether the node was rotated, and propose again"
            )
        else:
            good.append(f"{party.name} ({1000 * took:.0f} ms)")
    if good:
        lines.insert(0, f"Encrypted links stand, each to the agreed certificate: {', '.join(good)}.")
    return tuple(lines)
