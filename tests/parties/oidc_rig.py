"""A small OpenID Connect provider on loopback, with the one person that a test names. It asks nobody anything."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

__all__ = ["CLIENT", "SECRET", "Provider", "provider"]

CLIENT, SECRET = "entente-desk", "a client secret of the test"


@dataclass
class Provider:
    """``claims`` are added to every token, or taken out where they are None."""

    issuer: str = ""
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", {"kid": "1"}))
    claims: dict[str, Any] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def token(self, nonce: str = "n", key: ECKey | None = None, **claims: Any) -> str:
        """An ID token, signed by ``key`` or the provider's own."""
        now = int(time.time())
        said: dict[str, Any] = {
            "iss": self.issuer, "aud": CLIENT, "sub": "u-1", "email": "ada@example.org", "email_verified": True,
            "iat": now, "exp": now + 300, "nonce": nonce, **self.claims, **claims,
        }  # fmt: skip
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": "1"}, kept, key or self.key)

    def published(self, path: str) -> Any:
        """The documents that anybody may read."""
        if path == "/jwks":
            return {"keys": [self.key.as_dict(private=False)]}
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/jwks",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "id_token_signing_alg_values_supported": ["ES256"],
        }


@contextmanager
def provider() -> Iterator[Provider]:
    """The provider while it serves."""
    made = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, body: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            made.asked.append(place.path)
            if place.path != "/authorize":
                self.answer(made.published(place.path))
                return
            asked = {name: values[0] for name, values in parse_qs(place.query).items()}
            assert asked["client_id"] == CLIENT
            code = f"code-{len(made.nonces)}"
            made.nonces[code] = asked["nonce"]
            self.send_response(302)
            back = urlencode({"code": code, "state": asked["state"]})
            self.send_header("Location", f"{asked['redirect_uri']}?{back}")
            self.end_headers()

        def do_POST(self) -> None:
            made.asked.append(self.path)
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            assert self.headers["Authorization"] == f"Basic {basic}" or form.get("client_secret") == [SECRET]
            token = made.token(made.nonces.pop(form["code"][0]))
            self.answer({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.issuer = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
