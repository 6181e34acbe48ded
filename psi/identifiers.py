"""Entity identifiers: one normal form, and a party's own alias table applied before anything leaves it.

Two parties match only on identical text, so every identifier passes through :func:`normalise`, and
through :func:`canonical_ids` where the party keeps an alias table (renamed tickers, other spellings).
Identifiers stay text from end to end: ``NA``, ``NAN`` and ``TRUE`` are tickers, ``01001`` is not 1001.

The errors below name identifiers. Their text is for the party's own operator and must never be sent to a peer.

IdentifierError          root; a ValueError
├── IdentifierNotText    a number, a missing value or anything else that is not text
├── EmptyIdentifier      nothing is left of it
├── DuplicateIdentifier  two identifiers are one entity, and no alias said so
├── AliasConflict        the alias table gives one name two entities, or goes round in a circle
└── NotNormalised        a protocol was given an identifier that is not in normal form
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "AliasConflict",
    "DuplicateIdentifier",
    "EmptyIdentifier",
    "IdentifierError",
    "IdentifierNotText",
    "NotNormalised",
    "canonical_ids",
    "check_canonical",
    "normalise",
    "universe_alignment",
    "universe_digest",
]

_NAMED = 3  # offending identifiers an error spells out


class IdentifierError(ValueError):
    """An identifier, or an alias table, cannot be used."""


class IdentifierNotText(IdentifierError):
    """An identifier is a number, a missing value or anything else that is not text."""


class EmptyIdentifier(IdentifierError):
    """Nothing is left of an identifier."""


class DuplicateIdentifier(IdentifierError):
    """Two identifiers are one entity, and no alias said so."""


class AliasConflict(IdentifierError):
    """The alias table gives one name two entities, or goes round in a circle."""


class NotNormalised(IdentifierError):
    """A protocol was given an identifier that is not in normal form."""


_SLASHES = dict.fromkeys(("\N{FRACTION SLASH}", "\N{DIVISION SLASH}"), "/")
# BRK.B, BRK-B, BRK/B, BAC-PR-L; or BRK B, where one letter alone is a share class and more would be a word
_SHARE_CLASS = re.compile(r"[^\W_]{1,8}(?:(?:\s?[./-]\s?[^\W\d_]{1,3})+|\s[^\W\d_])")
_SEPARATOR = re.compile(r"\s?[./-]\s?|\s")
_BAR = re.compile(r"\s*\|\s*")


def normalise(raw: object) -> str:
    """The one spelling of an identifier that is compared between parties.

    Unicode NFKC and full case folding, written in capitals; dashes and slashes of all kinds as ``-`` and ``/``;
    invisible characters dropped; white space trimmed and collapsed, also around ``|``; leading ``$`` of a cashtag
    dropped; separators before a share class as ``.`` (``BRK-B``, ``brk/b`` and ``BRK B`` are ``BRK.B``).
    Nothing is read as a number or as a missing value. Applying it twice changes nothing.

    Raises :class:`IdentifierNotText` or :class:`EmptyIdentifier`.
    """
    if not isinstance(raw, str):
        raise IdentifierNotText(
            f"an identifier is {raw!r}, a {type(raw).__name__}, and must be text: "
            "select the column as text, with its leading zeros, and leave out rows without an identifier"
        )
    # invisible characters go first: one that parted a letter from its accent would keep the two from composing
    text = _plain(unicodedata.normalize("NFKC", _plain(raw)))
    text = unicodedata.normalize("NFKC", text.casefold())
    text = unicodedata.normalize("NFKC", text.upper())
    text = _BAR.sub("|", " ".join(text.split())).lstrip("$ ")
    if not text:
        raise EmptyIdentifier(f"the identifier {raw!r} is empty: leave out rows without an identifier")
    if _SHARE_CLASS.fullmatch(text):
        text = _SEPARATOR.sub(".", text)
    return text


def _plain(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(_plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return " "
    if category in ("Cf", "Cs"):
        return ""
    if category == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    return _SLASHES.get(character, character)


def canonical_ids(
    raw_ids: Iterable[object],
    aliases: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    many_to_one: bool = False,
) -> dict[str, str]:
    """Map each raw identifier to its entity: normalised, then replaced through the party's alias table.

    ``raw_ids`` are distinct, e.g. ``SELECT DISTINCT`` of a column. ``aliases`` maps alias to entity; both sides are
    normalised, and chains are followed to their end (SYMC -> NLOK -> GEN). With ``many_to_one`` several raw
    identifiers may share an entity where the alias table says so, as when a ticker was renamed over the years;
    spellings that differ only in form are duplicates all the same.

    Raises an :class:`IdentifierError` that names at most three offenders.
    """
    table = _alias_table(aliases.items() if isinstance(aliases, Mapping) else aliases)
    mapping: dict[str, str] = {}
    by_form: dict[str, list[str]] = {}
    by_entity: dict[str, list[str]] = {}
    for raw in raw_ids:
        form = normalise(raw)
        assert isinstance(raw, str)
        entity = table.get(form, form)
        mapping[raw] = entity
        if form not in by_form:
            by_entity.setdefault(entity, []).append(form)
        by_form.setdefault(form, []).append(raw)
    repeated = [" and ".join(map(repr, raws[:2])) for raws in by_form.values() if len(raws) > 1]
    if repeated:
        raise DuplicateIdentifier(
            f"duplicate identifiers: {_some(repeated)} are the same entity: select each entity once, spelled one way"
            + ", such as upper(trim(...)) of it" * all(_alike(raws) for raws in by_form.values())
        )
    merged = {entity: forms for entity, forms in by_entity.items() if len(forms) > 1}
    if merged and not many_to_one:
        raise DuplicateIdentifier(
            "the alias table maps several identifiers to one entity: "
            f"{_some(_merge(entity, forms) for entity, forms in merged.items())}: "
            "drop all but one, or allow many-to-one if these are names of one entity at different times"
        )
    return mapping


def _alike(raws: Sequence[str]) -> bool:
    return len({raw.strip(" ").upper() for raw in raws}) == 1


def _merge(entity: str, forms: Sequence[str]) -> str:
    return f"{' and '.join(repr(form) for form in forms[:2])} to {entity!r}"


def _alias_table(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Alias -> entity in normal form, with chains followed."""
    step: dict[str, str] = {}
    for alias, entity in pairs:
        left, right = normalise(alias), normalise(entity)
        if step.setdefault(left, right) != right:
            raise AliasConflict(
                f"the alias {left!r} stands for both {step[left]!r} and {right!r}: keep one of the two rows"
            )
    table: dict[str, str] = {}
    for alias in step:
        path = [alias]
        while (following := step.get(path[-1], path[-1])) != path[-1]:
            if following in path:
                circle = " -> ".join([*path[path.index(following) :], following][: _NAMED + 1])
                raise AliasConflict(
                    f"the alias table goes round in a circle: {circle}: let each of them name one and the same entity"
                )
            path.append(following)
        table[alias] = path[-1]
    return table


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return "; ".join(listed[:_NAMED]) + more


def check_canonical(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the identifiers as a tuple; raise :class:`IdentifierError` unless all are distinct and in normal form."""
    listed = tuple(ids)
    loose = [repr(name) for name in listed if normalise(name) != name]
    if loose:
        raise NotNormalised(f"identifiers not in normal form: {_some(loose)}: pass them through canonical_ids first")
    twice = [repr(name) for name, times in Counter(listed).items() if times > 1]
    if twice:
        raise DuplicateIdentifier(f"duplicate identifiers: {_some(twice)}: pass each entity once")
    return listed


def universe_alignment(ids: Iterable[str]) -> tuple[str, ...]:
    """The shared row order under the ``universe`` policy: the public list's identifiers, sorted.

    ``ids`` are in normal form and distinct (else :class:`IdentifierError`), and at least one.
    """
    listed = check_canonical(ids)
    if not listed:
        raise EmptyIdentifier("the universe holds no identifier: name a list with at least one")
    return tuple(sorted(listed))


def universe_digest(ids: Iterable[str]) -> bytes:
    """SHA-256 of the universe in its shared order, for parties to compare. The list is public."""
    digest = hashlib.sha256(b"entente/universe/1\x00")
    for name in universe_alignment(ids):
        data = name.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()
