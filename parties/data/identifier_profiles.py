"""Profiles of identifiers: what an ISIN, a FIGI, a CIK or a county code looks like, and its one spelling.

A party names the profile of its ``entity`` column, or one for each part of a composite key (``ticker|text``). What
does not fit is refused by name before anything leaves: a mistyped key is a missing company, or another.
The check digits are those of python-stdnum.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from stdnum import cusip, figi, isin, lei
from stdnum.exceptions import InvalidChecksum, ValidationError
from stdnum.gb import sedol

from parties.data.matching import plain_name
from psi.identifiers import IdentifierError, normalise

__all__ = ["LONGEST", "PROFILES", "profiled", "unprofiled"]

LONGEST = 400
"""Characters of an identifier, at most."""

_SHOWN = 40
_TICKER = re.compile(r"[A-Z0-9]{1,12}(\.[A-Z0-9]{1,4}){0,2}")
_CIK = re.compile(r"(?:CIK)?0*(\d{1,10})")
_FIPS = re.compile(r"(\d{1,5})(?:\.0+)?")
_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE")


def _bare(text: str) -> str:
    return re.sub(r"[ .-]", "", text)


def _ticker(text: str) -> str:
    if not _TICKER.fullmatch(text):
        raise ValueError("letters and digits, and a share class or market behind a separator")
    return text


def _checked(module: object, what: str) -> Callable[[str], str]:
    """The profile of a number that python-stdnum knows."""
    validate: Callable[[str], str] = module.validate  # type: ignore[attr-defined]

    def spelled(text: str) -> str:
        try:
            return str(validate(_bare(text)))
        except InvalidChecksum:
            raise ValueError(f"an {what}'s check digit is another one") from None
        except ValidationError as error:
            raise ValueError(f"{str(error).rstrip('.')}") from None

    return spelled


def _cusip(text: str) -> str:
    """Nine characters; of the eight that CRSP keeps the check digit is added."""
    bare = _bare(text)
    if re.fullmatch(r"[0-9A-Z]{8}", bare):
        bare += str(cusip.calc_check_digit(bare))
    return _checked(cusip, "CUSIP")(bare)


def _cik(text: str) -> str:
    found = _CIK.fullmatch(text)
    if found is None:
        raise ValueError("up to ten digits, with CIK before them or not")
    return found[1].zfill(10)


def _fips(text: str) -> str:
    """Two digits of a state, five of a county; leading zeros that a spreadsheet took come back."""
    found = _FIPS.fullmatch(text)
    if found is None or len(found[1]) == 3:
        raise ValueError("two digits of a state, or five of a county")
    return found[1].zfill(2 if len(found[1]) <= 2 else 5)


def _text(text: str) -> str:
    return text


PROFILES: dict[str, Callable[[str], str]] = {
    "text": _text,
    "ticker": _ticker,
    "isin": _checked(isin, "ISIN"),
    "figi": _checked(figi, "FIGI"),
    "cusip": _cusip,
    "sedol": _checked(sedol, "SEDOL"),
    "lei": _checked(lei, "LEI"),
    "cik": _cik,
    "fips": _fips,
    "name": lambda text: normalise(plain_name(text)),
}


def unprofiled(raw: str) -> str:
    """The normal form of a spelling. Raises :class:`IdentifierError` for one too long, or of several scripts."""
    if len(raw) > LONGEST:
        raise IdentifierError(
            f"an identifier of {len(raw):,} characters begins with {raw[:_SHOWN]!r}: one has {LONGEST} at most; look "
            "at what the column holds"
        )
    form = normalise(raw)
    for word in () if form.isascii() else form.split():
        scripts = {script for sign in word if (script := _script(sign))}
        if len(scripts) > 1:
            raise IdentifierError(
                f"{raw!r} mixes {' and '.join(sorted(scripts))} letters, which look alike and are not: spell it in one "
                "alphabet"
            )
    return form


def profiled(form: str, profile: tuple[str, ...], raw: str) -> str:
    """A normal form in the spelling of a profile. Raises :class:`IdentifierError` where it does not fit."""
    parts = form.split("|") if len(profile) > 1 else [form]
    if len(parts) != len(profile):
        raise IdentifierError(
            f"{raw[:_SHOWN]!r} has {len(parts)} parts where identifier = {'|'.join(profile)!r} has {len(profile)}: "
            "join the columns of the key with | in the query"
        )
    spelled = []
    for part, kind in zip(parts, profile, strict=True):
        try:
            # a part alone: the separator of its class share is one only there
            spelled.append(PROFILES[kind](normalise(part)))
        except ValueError as error:
            raise IdentifierError(
                f"{raw[:_SHOWN]!r} is no {kind} ({error}): mend it, name it in the alias table, or leave the row out"
            ) from None
    return "|".join(spelled)


def _script(sign: str) -> str:
    name = unicodedata.name(sign, "") if sign.isalpha() else ""
    return next((script.capitalize() for script in _SCRIPTS if name.startswith(script)), "")
