"""A small S3 store on loopback: reads, listings and signatures as AWS describes them (Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["KEY", "SECRET", "S3Store"]

KEY, SECRET = "AKIAENTENTETEST", "nobody-may-read-this-secret"


class S3Store:
    """``objects``: content by "bucket/key". ``asked``: method and path of each request whose signature was right."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.asked: list[str] = []
        self.refused = 0
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                store.answer(self)

            def do_HEAD(self) -> None:
                store.answer(self)

            def do_PUT(self) -> None:
                store.answer(self)

            def do_POST(self) -> None:
                store.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        name = unquote(parts.path).strip("/")
        if not signed(request, query):
            self.refused += 1
            _error(request, 403, "SignatureDoesNotMatch")
            return
        self.asked.append(f"{request.command} {name}")
        if request.command not in ("GET", "HEAD"):
            _error(request, 405, "MethodNotAllowed")
        elif "/" not in name:
            self._listing(request, name, query)
        elif name in self.objects:
            _send(request, self.objects[name])
        else:
            _error(request, 404, "NoSuchKey")

    def _listing(self, request: BaseHTTPRequestHandler, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = sorted(name.removeprefix(f"{bucket}/") for name in self.objects if name.startswith(f"{bucket}/"))
        keys = [key for key in keys if key.startswith(prefix)]
        folders = {}
        if delimiter:
            folders = {prefix + key[len(prefix) :].split(delimiter)[0] + delimiter: 1 for key in keys}
            folders = {folder: 1 for folder in folders if any(k.startswith(folder) for k in keys)}
            keys = [key for key in keys if delimiter not in key[len(prefix) :]]
        content = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[f'{bucket}/{key}'])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders))
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
        text = f"<ListBucketResult>{head}<IsTruncated>false</IsTruncated>{content}</ListBucketResult>"
        _send(request, text.encode(), kind="application/xml")


def signed(request: BaseHTTPRequestHandler, query: dict[str, str]) -> bool:
    """Whether the request carries the signature that SECRET makes of it."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    who, date, region, service, last = fields.get("Credential", "////").split("/")
    if scheme != "AWS4-HMAC-SHA256" or who != KEY:
        return False
    names = fields["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    asked = "&".join(f"{quote(key, safe='-_.~')}={quote(query[key], safe='-_.~')}" for key in sorted(query))
    path = urlsplit(request.path).path
    body = request.headers.get("x-amz-content-sha256", "")
    canonical = "\n".join([request.command, path, asked, headers, fields["SignedHeaders"], body])
    scope = f"{date}/{region}/{service}/{last}"
    when = request.headers.get("x-amz-date", "")
    text = "\n".join([scheme, when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for part in (date, region, service, last):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), fields["Signature"])


def _send(request: BaseHTTPRequestHandler, content: bytes, kind: str = "binary/octet-stream") -> None:
    start, stop, status = 0, len(content), 200
    asked = request.headers.get("Range", "")
    if asked.startswith("bytes="):
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop, status = int(first), min(int(last or len(content)) + 1, len(content)), 206
    piece = content[start:stop]
    extra: dict[str, Any] = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"} if status == 206 else {}
    _respond(request, status, piece, kind, extra)


def _error(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    _respond(
        request, status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), "application/xml"
    )


def _respond(
    request: BaseHTTPRequestHandler, status: int, body: bytes, kind: str, extra: dict[str, Any] | None = None
) -> None:
    request.send_response(status)
    for name, value in {
        "Content-Type": kind,
        "Content-Length": len(body),
        "ETag": '"0"',
        "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
        "Accept-Ranges": "bytes",
        **(extra or {}),
    }.items():
        request.send_header(name, str(value))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)
