"""Every term of an agreement, with its value and what it means, and what differs between two agreements.

The terms are walked as the agreement's own models declare them, so none can be forgotten. A value that is too long to
read stands with its length, its ends and a fingerprint, so that no change of it goes unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from parties.agreement.document import Agreement
from parties.agreement.plain_meanings import PLAIN_MEANINGS
from parties.agreement.terms import RewardTerms
from parties.ledger.entries import Unit

__all__ = ["AMOUNTS", "Term", "amount_in_words", "differences", "every_term", "side_by_side"]

_LONGEST_LIST = 24
_LONGEST_TEXT = 400
_LONGEST_WORD = 100
AMOUNTS = frozenset(("pot", "stakes", "dispute_deposit", "per_period"))
"""Terms that are money, in minor units."""
_WHOLE = frozenset(("columns",))  # a name that somebody added must not hide behind a fingerprint
_EACH_TIME = frozenset(("nonce", "proposed at"))  # new in every agreement, and of no consequence


@dataclass(frozen=True, slots=True)
class Term:
    """One term: where it stands, its value in words, and what it means."""

    section: str
    name: str
    value: str
    meaning: str = ""


def every_term(agreement: Agreement) -> tuple[Term, ...]:
    """Every term, by section; two agreements of another hash differ in one of them."""
    return tuple(_terms(agreement, "run", agreement.reward))


def side_by_side(agreements: Sequence[Agreement]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Every term in which the agreements differ, with its value in each, but for what is new in every agreement."""
    known = [{(t.section, t.name): t.value for t in every_term(one)} for one in agreements]
    rows = []
    for place in dict.fromkeys(place for terms in (*known[1:], *known[:1]) for place in terms):
        values = tuple(terms.get(place, "not there") for terms in known)
        if place[1] not in _EACH_TIME and len(set(values)) > 1:
            section, name = place
            rows.append((name if section == "run" else f"{section}: {name}", values))
    return tuple(rows)


def differences(before: Agreement, after: Agreement) -> tuple[str, ...]:
    """One line for every term that is not what it was, but for what is new in every agreement."""
    return tuple(f"{where}: {was} -> {now}" for where, (was, now) in side_by_side((before, after)))


def amount_in_words(terms: RewardTerms, minor: int) -> str:
    """Minor units as an amount of the agreement's unit, exactly."""
    return f"{Unit(terms.unit, terms.scale).format(minor)} {terms.unit}"


def _terms(model: BaseModel, section: str, reward: RewardTerms) -> Iterator[Term]:
    later: list[tuple[str, BaseModel]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            later.append((_join(section, name), value))
        elif isinstance(value, tuple) and value and all(isinstance(one, BaseModel) for one in value):
            later += [(_join(section, f"{name} {getattr(one, 'name', i + 1)}"), one) for i, one in enumerate(value)]
        else:
            words = _amount(value, reward) if name in AMOUNTS else _plain(value, whole=name in _WHOLE)
            yield Term(section, name.replace("_", " "), words, field.description or PLAIN_MEANINGS.get(name, ""))
    for where, inner in later:
        yield from _terms(inner, where, reward)


def _amount(value: int | Mapping[str, int], reward: RewardTerms) -> str:
    """Money with its minor units beside it, which are what is signed."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_item(key)}: {_amount(inner, reward)}" for key, inner in value.items()) or "none"
    return f"{amount_in_words(reward, value)} ({value} minor units)"


def _join(section: str, name: str) -> str:
    words = name.replace("_", " ", 1) if not name.startswith("parties ") else name.replace("parties ", "party ", 1)
    return words if section == "run" else f"{section}, {words}"


def _plain(value: Any, *, whole: bool = False) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        # whole seconds as people write them, else every digit: two that differ must not read alike
        at = value if value.utcoffset() is None else value.astimezone(UTC)
        return f"{at.replace(tzinfo=None).isoformat(' ')}{' UTC' if at.tzinfo else ''}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_item(key)}: {_item(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, BaseModel):
        return " ".join(f"{name} {_plain(getattr(value, name))}" for name in type(value).model_fields)
    if isinstance(value, tuple | list):
        every = [_item(inner) for inner in value]
        if whole or len(every) <= _LONGEST_LIST:
            return ", ".join(every) or "none"
        return f"{len(every)}: {every[0]}, {every[1]}, ..., {every[-1]} ({_fingerprint(every)})"
    return _text(str(value))


def _item(value: Any) -> str:
    """One of several: what holds their separator stands in quotes."""
    words = _plain(value)
    return json.dumps(words) if isinstance(value, str) and ("," in words or ": " in words) else words


def _text(text: str) -> str:
    """A text so that no two read alike: quoted where blanks or characters that nobody sees could hide a difference."""
    if not text:
        return '""'
    if text in ("none", "yes", "no") or text != " ".join(text.split()) or not text.isprintable():
        text = json.dumps(text)
    if len(text) <= (_LONGEST_TEXT if " " in text else _LONGEST_WORD):
        return text
    return f"{text[: 360 if ' ' in text else 24]}... ({_fingerprint(text)})"


def _fingerprint(value: object) -> str:
    return f"SHA-256 {hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]}"
