"""One notice: what is said, what to type, and how a receiver knows who wrote it. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from parties.notices.settings import About, MailSettings

__all__ = ["Notice", "as_mail", "as_webhook", "signature"]

_MARKS = {"<": "(", ">": ")", "](": "] (", "://": ": //", "@": "@ "}  # in this order


@dataclass(frozen=True, slots=True)
class Notice:
    """``key`` tells notices apart: each is sent once. ``brief`` has no names; ``command`` can be copied as it is."""

    key: str
    about: About
    text: str
    brief: str
    command: str = ""
    run_id: str = ""

    def said(self, *, names: bool) -> str:
        """The sentence, with names or without, on one line: whoever proposes a run or stops it has words in it."""
        return _harmless(_line(self.text if names else self.brief))


def as_webhook(notice: Notice, who: str, at: datetime, *, names: bool) -> bytes:
    """The body of a POST: ``type``, ``timestamp`` and ``data`` of Standard Webhooks, and ``text`` for chats."""
    said = notice.said(names=names)
    text = f"{who}: {said}" + (f"\n{notice.command}" if notice.command else "")
    data = {"about": notice.about, "run_id": notice.run_id, "text": said, "command": notice.command, "from": who}
    body = {"type": f"entente.{notice.about}", "timestamp": at.isoformat(), "data": data, "text": text}
    return json.dumps(body, ensure_ascii=False).encode()


def signature(secret: bytes, number: str, at: datetime, body: bytes) -> dict[str, str]:
    """Headers by which a receiver that has the key knows that the body is ours and fresh.

    Source: RFC 2104; id, time and body as in the Standard Webhooks specification, symmetric signatures.
    """
    stamp = str(int(at.timestamp()))
    mac = hmac.new(secret, b".".join((number.encode(), stamp.encode(), body)), hashlib.sha256).digest()
    return {
        "webhook-id": number, "webhook-timestamp": stamp, "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }  # fmt: skip


def as_mail(notice: Notice, who: str, at: datetime, settings: MailSettings, *, names: bool) -> EmailMessage:
    """Plain text: the sentence, the command below it, and nothing to click."""
    mail = EmailMessage()
    mail["Subject"] = f"[{_line(who)}] {_line(notice.brief)}"[:180]
    mail["From"], mail["To"] = settings.sender, ", ".join(settings.to)
    mail["Date"] = at
    lines = [notice.said(names=names)]
    if notice.command:
        lines += ["", f"    {notice.command}"]
    mail.set_content("\n".join([*lines, "", "Nothing is signed or approved by answering this."]) + "\n")
    return mail


def _harmless(text: str) -> str:
    """The text without what a chat makes a link of, or calls everybody by."""
    for mark, instead in _MARKS.items():
        text = text.replace(mark, instead)
    return text


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
