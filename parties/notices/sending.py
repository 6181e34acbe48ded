"""One notice on its way: a POST over HTTPS, or a mail over TLS. Errors name the host and never the address or a key."""

from __future__ import annotations

import base64
import smtplib
import ssl
from datetime import datetime
from pathlib import Path

import httpx

from parties.errors import ConfigError, PeerError
from parties.notices.message import Notice, as_mail, as_webhook, signature
from parties.notices.settings import MailSettings, WebhookSettings

__all__ = ["post", "send_mail", "webhook_secret"]

_SECONDS = 10.0


def webhook_secret(settings: WebhookSettings, home: Path) -> bytes:
    """The key that notices are signed with; empty without one."""
    if not settings.secret_file:
        return b""
    text = _read(home / settings.secret_file).removeprefix("whsec_")
    try:
        secret = base64.b64decode(text, validate=True)
    except ValueError:  # also for letters beyond ASCII
        raise ConfigError(f"{home / settings.secret_file}: not base64; make one with openssl rand -base64 32") from None
    if len(secret) < 24:
        raise ConfigError(f"{home / settings.secret_file}: the key is too short; make one with openssl rand -base64 32")
    return secret


def post(settings: WebhookSettings, home: Path, who: str, notice: Notice, at: datetime, *, names: bool) -> None:
    """Send by webhook; raises :class:`PeerError` for what the receiver does. No redirect is followed."""
    body = as_webhook(notice, who, at, names=names)
    headers = {"content-type": "application/json", "user-agent": "entente"}
    if secret := webhook_secret(settings, home):
        headers |= signature(secret, notice.key, at, body)
    try:
        answer = httpx.post(settings.url, content=body, headers=headers, timeout=_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PeerError(f"the webhook at {settings.host} cannot be reached ({type(error).__name__})") from None
    if not answer.is_success:
        raise PeerError(f"the webhook at {settings.host} answers {answer.status_code}: check its address")


def send_mail(settings: MailSettings, home: Path, who: str, notice: Notice, at: datetime, *, names: bool) -> None:
    """Send by mail; raises :class:`PeerError` for what the server does. It is never spoken to without TLS."""
    mail = as_mail(notice, who, at, settings, names=names)
    context = ssl.create_default_context()
    try:
        with _server(settings, context) as server:
            if settings.user:
                server.login(settings.user, _read(home / settings.password_file))
            server.send_message(mail)
    except smtplib.SMTPAuthenticationError:
        raise PeerError(
            f"the mail server {settings.host} does not take user and password: check password_file"
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise PeerError(
            f"the mail server {settings.host}:{settings.port} takes no mail ({type(error).__name__}): check host, port "
            "and addresses"
        ) from None


def _server(settings: MailSettings, context: ssl.SSLContext) -> smtplib.SMTP:
    if settings.port == 465:
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=_SECONDS, context=context)
    server = smtplib.SMTP(settings.host, settings.port, timeout=_SECONDS)
    try:
        server.starttls(context=context)
    except BaseException:
        server.close()
        raise
    return server


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; write the secret into it as one line of plain text") from None
