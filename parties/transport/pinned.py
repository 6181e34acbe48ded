"""The certificate a server shows, fetched over a bare TLS handshake and held against a fingerprint known beforehand."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl

from parties.errors import PeerError

__all__ = ["fetch_certificate", "shown_at"]


def fetch_certificate(address: str, fingerprint: str, *, timeout: float = 10.0) -> bytes:
    """The certificate (PEM) of the server at ``address`` (host:port), if its SHA-256 in DER is ``fingerprint`` (hex).

    Nothing is sent but the handshake: what comes back is to be used as the only trusted root of the real connection.
    Raises :class:`PeerError` when nobody answers or the fingerprint differs.
    """
    shown = shown_at(address, timeout=timeout)
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.decode("ascii"))).hexdigest()
    if not hmac.compare_digest(found, fingerprint.lower()):
        raise PeerError(
            f"the server at {address} does not show the certificate that was announced: somebody may stand in between, "
            "or the coordinator has new keys; ask the consortium admin for a new token"
        )
    return shown


def shown_at(address: str, *, timeout: float = 10.0) -> bytes:
    """Whatever certificate (PEM) the server at ``address`` shows: worth nothing until held against something known."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # trust is the comparison below, not a chain
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # in TLS 1.3 the server's certificate comes before the server misses ours
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            found = wrapped.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PeerError(f"nobody can be reached at {address} ({reason}): check the address, and that it runs") from None
    if found is None:
        raise PeerError(f"the server at {address} shows no certificate: check the address")
    return ssl.DER_cert_to_PEM_cert(found).encode()
