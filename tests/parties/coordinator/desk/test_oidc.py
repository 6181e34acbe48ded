"""Signing in by an identity provider: the coordinator believes its signature, and nobody's word about roles."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from parties.coordinator.desk.oidc import fetch_json
from parties.coordinator.settings import DeskSettings, load_coordinator_settings
from parties.errors import ConfigError, SignInError
from tests.parties.coordinator_rig import LABEL, Consortium
from tests.parties.oidc_rig import CLIENT, Provider, provider

PEOPLE: list[dict[str, Any]] = [
    {"email": "Ada@Example.org", "role": "auditor", "name": "Ada"},
    {"subject": "u-2", "role": "operator", "party": LABEL},
]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, issuer: Provider) -> Iterator[Any]:
    consortium = Consortium(tmp_path)
    oidc = {"issuer": issuer.issuer, "audience": CLIENT, "people": PEOPLE}
    with consortium.coordinator(desk=DeskSettings.model_validate({"oidc": oidc})), consortium.desk() as client:
        yield client


def test_a_person_gets_the_role_that_the_coordinator_gave_them(desk: Any, issuer: Provider) -> None:
    token = issuer.token(role="admin", roles=["admin"])
    client = desk.within(desk.sign_in(id_token=token))
    viewer = client.viewer()
    assert (viewer.name, viewer.role, viewer.way) == ("Ada", "auditor", "identity provider")
    operator = desk.within(desk.sign_in(id_token=issuer.token(sub="u-2", email=None)))
    assert (operator.viewer().role, operator.viewer().party) == ("operator", LABEL)
    with pytest.raises(SignInError, match="used already"):
        desk.sign_in(id_token=token)
    assert [(a.name, a.outcome[:7]) for a in client.actions().actions[:3]] == [
        ("somebody", "refused"), ("u-2", "done"), ("Ada", "done"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": "another"}, "another site"),
        ({"aud": [CLIENT, "another"]}, "another site"),
        ({"iss": "https://elsewhere.example"}, "another provider"),
        ({"exp": 1}, "over"),
        ({"exp": None}, "how long"),
        ({"exp": True}, "how long"),
        ({"iat": int(time.time()) - 3600}, "over"),
        ({"iat": int(time.time()) + 3600}, "over"),
        ({"nbf": int(time.time()) + 3600}, "over"),
        ({"email_verified": False}, "no role here"),
        ({"email_verified": "true"}, "no role here"),
        ({"email": "eve@example.org"}, "eve@example.org has no role here"),
        ({"sub": None}, "another site"),
    ],
)
def test_a_token_that_is_not_good_is_refused(desk: Any, issuer: Provider, claims: dict[str, Any], says: str) -> None:
    with pytest.raises(SignInError, match=says):
        desk.sign_in(id_token=issuer.token(**claims))


def test_a_forged_token_is_refused(desk: Any, issuer: Provider) -> None:
    head, body, _ = issuer.token().split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    public = json.dumps(issuer.key.as_dict(private=False))
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    forged = [
        issuer.token(key=ECKey.generate_key("P-256", {"kid": "1"})),
        f"{none}.{body}.",
        f"{head}.{body}.",
        jwt.encode({"alg": "HS256", "kid": "1"}, said, OctKey.import_key(public)),
        "x.y.z",
        "no token",
    ]
    for token in forged:
        with pytest.raises(SignInError, match="did not sign this"):
            desk.sign_in(id_token=token)


def test_a_key_that_the_provider_changed_is_found(desk: Any, issuer: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.sign_in(id_token=issuer.token())
    monkeypatch.setattr("parties.coordinator.desk.oidc._KEYS_AGAIN", 0.0)
    issuer.key = ECKey.generate_key("P-256", {"kid": "1"})
    assert desk.within(desk.sign_in(id_token=issuer.token())).viewer().name == "Ada"


def test_without_a_provider_its_word_counts_for_nothing(tmp_path: Path, issuer: Provider) -> None:
    consortium = Consortium(tmp_path)
    with (
        consortium.coordinator(),
        consortium.desk() as desk,
        pytest.raises(SignInError, match="takes no identity provider's word"),
    ):
        desk.sign_in(id_token=issuer.token())


def test_a_provider_that_is_away_is_said_so(tmp_path: Path, issuer: Provider) -> None:
    consortium = Consortium(tmp_path)
    oidc = {"issuer": "http://127.0.0.1:9", "audience": CLIENT, "people": PEOPLE}
    with (
        consortium.coordinator(desk=DeskSettings.model_validate({"oidc": oidc})),
        consortium.desk() as desk,
        pytest.raises(SignInError, match="cannot be asked for its keys"),
    ):
        desk.sign_in(id_token=issuer.token())


def test_keys_are_fetched_over_https_alone() -> None:
    for place in ("http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(ValueError, match="not https"):
            fetch_json(place)


@pytest.mark.parametrize(
    ("person", "says"),
    [
        ('email = "a@b"\nsubject = "x"\nrole = "admin"', "by email or by subject"),
        ('role = "admin"', "by email or by subject"),
        ('email = "a@b"\nrole = "operator"', "works for a party"),
        ('email = "a@b"\nrole = "root"', "role"),
    ],
)
def test_a_person_is_written_down_in_one_way(tmp_path: Path, person: str, says: str) -> None:
    text = f'[desk.oidc]\nissuer = "https://x"\naudience = "y"\n[[desk.oidc.people]]\n{person}\n'
    (tmp_path / "coordinator.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_coordinator_settings(tmp_path)
