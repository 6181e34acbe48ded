"""Notices: sent once, signed, over TLS alone; a receiver that fails disturbs nothing, and no secret is logged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import smtplib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
from pydantic import ValidationError

from parties.cli import run as entente
from parties.coordinator.notice_watch import CoordinatorWatch
from parties.errors import ConfigError, PeerError
from parties.notices import sending
from parties.notices.message import Notice, as_mail, as_webhook
from parties.notices.notifier import Notifier, Way, ways
from parties.notices.settings import MailSettings, NoticeSettings, WebhookSettings
from tests.parties.coordinator_rig import PARTIES, Consortium, wait_for_status

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
SIGN = Notice("sign r orbit", "sign", "“P” waits for orbit.", "run r waits.", "entente run review r --home orbit", "r")
ENDED = Notice("failed q", "failed", "“Q” has stopped: why.", "run q has stopped.")
HOOK = WebhookSettings(url="https://chat.example.org/hooks/secret-path")
MAIL = MailSettings(host="mail.example.org", sender="a@example.org", to=("b@example.org",))


@pytest.mark.parametrize(
    "url",
    [
        "http://chat.example.org/x",
        "https:///x",
        "file:///etc/passwd",
        "https://u:p@chat.example.org/",
        "chat.example.org",
    ],
)
def test_a_webhook_is_an_encrypted_address_with_a_host(url: str) -> None:
    with pytest.raises(ValidationError, match="https"):
        WebhookSettings(url=url)


def test_mail_goes_to_addresses_and_no_header_can_be_smuggled_in() -> None:
    for bad in ("b", "b@x", "b@example.org\nBcc: c@example.org", "B <b@example.org>"):
        with pytest.raises(ValidationError, match="no e-mail address"):
            MailSettings(host="mail.example.org", sender="a@example.org", to=(bad,))


def test_words_of_others_are_no_link_no_call_and_no_command() -> None:
    """Attack: a purpose, or a reason to stop, that a chat or a mail shows as ours: a link, everybody called, a line."""
    words = "P <https://evil.example|Approve here> [Approve](https://evil.example) <!channel> @all\n\n    entente sign"
    notice = Notice(
        "failed q", "failed", f"“{words}” has stopped: {words}.", "run q has stopped.", "entente run show q"
    )
    shown = json.loads(as_webhook(notice, "Fund", NOW, names=True))
    mail = as_mail(notice, "Fund", NOW, MAIL, names=True).get_content()
    for text in (shown["text"], shown["data"]["text"], mail):
        assert not any(mark in text for mark in ("<", ">", "](", "://", "@a"))
    assert shown["text"].splitlines()[1:] == ["entente run show q"]
    assert [line.strip() for line in mail.splitlines() if line.startswith("    ")] == ["entente run show q"]


def test_a_post_is_signed_so_that_its_receiver_can_tell(tmp_path: Path) -> None:
    key = bytes(range(32))
    (tmp_path / "key").write_text(base64.b64encode(key).decode())
    hook = HOOK.model_copy(update={"secret_file": "key"})
    with mock.patch.object(httpx, "post", return_value=httpx.Response(204)) as sent:
        sending.post(hook, tmp_path, "Fund", SIGN, NOW, names=True)
    said, headers = sent.call_args.kwargs["content"], sent.call_args.kwargs["headers"]
    assert not sent.call_args.kwargs["follow_redirects"]
    body = json.loads(said)
    assert body["text"] == "Fund: “P” waits for orbit.\nentente run review r --home orbit"
    signed = f"{SIGN.key}.{int(NOW.timestamp())}.".encode() + said
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert b"P" not in as_webhook(SIGN, "x", NOW, names=False).split(b'"text"')[1].split(b",")[0]
    for wrong, said in (
        (b"short", "openssl rand"),
        ("é" * 32, "openssl rand"),
        (b"\xff" * 32, "key: is not UTF-8 text"),
    ):
        (tmp_path / "key").write_bytes(wrong.encode() if isinstance(wrong, str) else wrong)
        with pytest.raises(ConfigError, match=said):
            sending.webhook_secret(hook, tmp_path)


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(302), httpx.ConnectTimeout("secret-path")])
def test_a_receiver_that_fails_is_named_by_its_host_alone(answer: Any, tmp_path: Path) -> None:
    answered = {"side_effect": answer} if isinstance(answer, Exception) else {"return_value": answer}
    with mock.patch.object(httpx, "post", **answered), pytest.raises(PeerError, match=r"chat\.example\.org") as raised:
        sending.post(HOOK, tmp_path, "Fund", SIGN, NOW, names=True)
    assert "secret-path" not in str(raised.value)


class Server:
    """As much of a mail server as is spoken to, and what it was told."""

    def __init__(self, *, encrypts: bool = True) -> None:
        self.encrypts, self.told, self.mails = encrypts, [], list[EmailMessage]()

    def __call__(self, host: str, port: int, timeout: float) -> Server:
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.told.append("close")

    def starttls(self, context: Any) -> None:
        assert context.check_hostname
        if not self.encrypts:
            raise smtplib.SMTPNotSupportedError("no STARTTLS")
        self.told.append("tls")

    def login(self, user: str, password: str) -> None:
        self.told.append(f"login {user} {password}")

    def send_message(self, mail: EmailMessage) -> None:
        self.mails.append(mail)


def test_mail_is_sent_over_tls_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hidden\n")
    settings, server = MAIL.model_copy(update={"user": "u", "password_file": "password"}), Server()
    monkeypatch.setattr(smtplib, "SMTP", server)
    sending.send_mail(settings, tmp_path, "Fund", SIGN, NOW, names=False)
    assert server.told[:2] == ["tls", "login u hidden"]
    (mail,) = server.mails
    assert (mail["Subject"], mail["To"]) == ("[Fund] run r waits.", "b@example.org")
    assert "entente run review r --home orbit" in mail.get_content()
    assert "“P”" not in mail.get_content()
    bare = Server(encrypts=False)
    monkeypatch.setattr(smtplib, "SMTP", bare)
    with pytest.raises(PeerError, match="takes no mail"):
        sending.send_mail(settings, tmp_path, "Fund", SIGN, NOW, names=True)
    assert bare.told == ["close"], "nobody said who we are"


def rig(
    tmp_path: Path, found: list[Notice], send: Callable[[Notice, datetime], None]
) -> tuple[Notifier, list[datetime]]:
    clock = [NOW]
    way = Way("webhook at chat.example.org", "k", ("sign", "failed"), send)
    return Notifier(lambda: list(found), (way,), tmp_path, lambda: clock[0]), clock


def test_each_notice_is_sent_once_over_restarts_and_what_was_over_before_is_no_news(tmp_path: Path) -> None:
    sent: list[str] = []
    found = [SIGN, ENDED]
    notifier, _ = rig(tmp_path, found, lambda notice, at: sent.append(notice.key))
    notifier.step()
    notifier.step()
    again, _ = rig(tmp_path, found, lambda notice, at: sent.append(notice.key))
    again.step()
    assert sent == [SIGN.key]
    found.append(Notice("failed r", "failed", "t", "b"))
    again.step()
    assert sent == [SIGN.key, "failed r"]
    found.clear()
    again.step()
    assert json.loads((tmp_path / "notices.json").read_text()) == {"sent": []}, "what is over is forgotten"


def test_what_cannot_be_sent_is_tried_five_times_with_pauses_and_then_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[datetime] = []

    def refuse(notice: Notice, at: datetime) -> None:
        tries.append(at)
        raise PeerError("the webhook at chat.example.org answers 500")

    notifier, clock = rig(tmp_path, [SIGN], refuse)
    with caplog.at_level(logging.WARNING):
        for _ in range(400):
            notifier.step()
            clock[0] += timedelta(seconds=10)
    assert len(tries) == 5
    assert tries[2] - tries[1] > tries[1] - tries[0] >= timedelta(seconds=60)
    assert "given up after 5 tries" in caplog.text


def test_nobody_is_told_unless_the_settings_say_so_and_a_test_notice_can_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ways(NoticeSettings(), tmp_path, "Fund") == ()
    assert entente(["notices", "--home", str(tmp_path)]) == 2
    (tmp_path / "coordinator.toml").write_text(
        '[[notices.webhook]]\nurl = "https://chat.example.org/hooks/secret-path"\n'
    )
    with mock.patch.object(httpx, "post", return_value=httpx.Response(200)):
        assert entente(["notices", "--home", str(tmp_path)]) == 0
    with mock.patch.object(httpx, "post", return_value=httpx.Response(404)):
        assert entente(["notices", "--home", str(tmp_path)]) == PeerError.exit_code
    said = capsys.readouterr()
    assert "webhook at chat.example.org: sent" in said.out
    assert "secret-path" not in said.out + said.err


def test_a_coordinator_says_who_has_to_sign_and_what_to_type(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator() as coordinator, consortium.client() as client:
        watch = CoordinatorWatch(coordinator.desk)
        assert list(watch.notices()) == []
        run_id = client.propose(consortium.agreement(purpose="Small caps"))
        told = {notice.key: notice for notice in watch.notices()}
        assert set(told) == {f"sign {run_id} {party}" for party in PARTIES}
        one = told[f"sign {run_id} {PARTIES[0]}"]
        assert one.command == f"entente run review {run_id[:12]} --home {PARTIES[0]}"
        assert "Small caps" in one.text
        assert "Small caps" not in one.brief
        client.cancel(run_id, "no longer wanted")
        wait_for_status(client, run_id, "aborted")
        (ended,) = watch.notices()
        assert (ended.about, ended.key) == ("failed", f"failed {run_id}")
        assert "no longer wanted" in ended.text
