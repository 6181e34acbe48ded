"""ID tokens of an OpenID Connect issuer, verified by the coordinator itself.

The web page carries the token here and is not believed: the signature must be the issuer's (its published keys, fetched
over HTTPS), the token must be for us, fresh and unused, and the role is what ``coordinator.toml`` gives that person.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from parties.coordinator.desk.sessions import Person
from parties.coordinator.settings import OidcPerson, OidcSettings
from parties.errors import ConfigError, SignInError

__all__ = ["Issuer", "fetch_json"]

_ALGORITHMS = ("RS256", "PS256", "ES256")
_LEEWAY = 60
_OLDEST = timedelta(minutes=10)
_KEYS_LAST = 3600.0
_KEYS_AGAIN = 10.0
_SECONDS = 5.0
_LARGEST = 1 << 20
_AWAY = "the identity provider cannot be asked for its keys: try again, or sign in with a one-time token"


def fetch_json(url: str) -> Any:
    """A JSON document over HTTPS, or over HTTP from this machine. Raises ``httpx.HTTPError`` or :class:`ValueError`."""
    parts = urlsplit(url)
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in (("http", "127.0.0.1"), ("http", "localhost")):
        raise ValueError("not https")
    answer = httpx.get(url, timeout=_SECONDS)
    if answer.status_code != httpx.codes.OK or len(answer.content) > _LARGEST:
        raise ValueError(f"answered {answer.status_code}")
    return answer.json()


class Issuer:
    """One issuer's word on who somebody is. Thread-safe. ``now`` gives aware datetimes."""

    def __init__(
        self, settings: OidcSettings, now: Callable[[], datetime], fetch: Callable[[str], Any] = fetch_json
    ) -> None:
        self._settings = settings
        self._now = now
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched = 0.0

    def person(self, token: str) -> tuple[Person, datetime]:
        """Whom the token vouches for, with the role they have here, and until when it could be used.

        Raises :class:`SignInError` for a token that is not good, and for a person to whom no role was given.
        """
        claims = self._claims(token)
        expires = self._checked(claims)
        found = next((one for one in self._settings.people if _is(one, claims)), None)
        if found is None:
            known = claims.get("email") or claims["sub"]
            raise SignInError(f"{str(known)[:80]} has no role here: ask the admin for one")
        try:
            return Person(found.name or found.email or found.subject, found.role, found.party), expires
        except ConfigError as error:
            raise SignInError(str(error)) from None

    def _claims(self, token: str) -> dict[str, Any]:
        for fresh in (False, True):
            keys = self._published(fresh=fresh)
            try:
                return dict(jwt.decode(token, keys, algorithms=_ALGORITHMS).claims)
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # perhaps signed with a key that the issuer has published since
        raise SignInError("the identity provider did not sign this: sign in again")

    def _checked(self, claims: dict[str, Any]) -> datetime:
        """When it expires, after every claim that it must make was found true."""
        now, audience = self._now().timestamp(), claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        us = self._settings.audience
        if claims.get("iss") != self._settings.issuer or us not in audiences or not isinstance(claims.get("sub"), str):
            raise SignInError("this sign-in is for another site or from another provider: sign in again")
        if len(audiences) > 1 and claims.get("azp") != us:
            raise SignInError("this sign-in was made for another site: sign in again")
        times = [claims.get(name) for name in ("exp", "iat")]
        if not all(isinstance(at, int | float) and not isinstance(at, bool) for at in times):
            raise SignInError("this sign-in does not say how long it is good: sign in again")
        expires, issued = (float(at or 0) for at in times)
        begins = claims.get("nbf", 0)
        early = not isinstance(begins, int | float) or max(issued, begins) > now + _LEEWAY
        if early or expires <= now or issued < now - _OLDEST.total_seconds():
            raise SignInError("this sign-in is over: sign in again")
        return datetime.fromtimestamp(min(expires, now + 86400), UTC)

    def _published(self, *, fresh: bool) -> KeySet:
        """The issuer's keys, asked for at most once in a while."""
        with self._lock:
            age = time.monotonic() - self._fetched
            if self._keys is not None and age < (_KEYS_AGAIN if fresh else _KEYS_LAST):
                return self._keys
            try:
                known = self._fetch(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                if known["issuer"] != self._settings.issuer:
                    raise SignInError("the identity provider calls itself otherwise than coordinator.toml: mend issuer")
                self._keys = KeySet.import_key_set(self._fetch(known["jwks_uri"]))
            except (httpx.HTTPError, ValueError, KeyError, TypeError, JoseError):
                raise SignInError(_AWAY) from None
            self._fetched = time.monotonic()
            return self._keys


def _is(one: OidcPerson, claims: dict[str, Any]) -> bool:
    """Whether the entry is of whom the claims speak: by subject, or by an e-mail that the issuer has verified."""
    if one.subject:
        return bool(one.subject == claims["sub"])
    email = claims.get("email")
    verified = claims.get("email_verified") is True
    return verified and isinstance(email, str) and email.casefold() == one.email.casefold()
