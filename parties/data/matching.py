"""A party's messy names against a public reference list, matched at home: proposals for its alias table.

Names are brought to a plain form (case, accents, punctuation, legal forms, words that most names of one side carry),
equal ones are matched, and of the rest the closest reference name counts if it is close enough and clearly closer
than the next (rapidfuzz, token-sort ratio). A proposal is for the party's eyes: it is written only when asked for.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rapidfuzz import fuzz, process

from parties.errors import ConfigError, DataError, StorageError
from parties.files.columns import Wanted
from parties.files.table import read_table
from parties.private_files import write_new

__all__ = ["Match", "match_names", "plain_name", "read_reference", "write_aliases"]

_FORMS = frozenset(
    word
    for line in (
        "inc incorporated corp corporation co company ltd limited plc llc llp lp sa ag nv se spa oyj asa ab as gmbh",
        "kgaa kg bv holding holdings group the",
    )
    for word in line.split()
)
_CANDIDATES = 3
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """One of the party's names. ``score`` is 0 to 100; ``reference`` is "" where nothing is close."""

    name: str
    reference: str
    score: float
    kind: Literal["same", "exact", "close", "ambiguous", "none"]
    next_best: str = ""


def match_names(
    names: Sequence[str], reference: Sequence[str], *, least: float = 88.0, margin: float = 3.0
) -> tuple[Match, ...]:
    """The best reference entry of every name, in the names' order.

    same: spelled alike. exact: alike in plain form. close: at least ``least``, ``margin`` above the next best, and
    with the same letters and numbers that stand alone. ambiguous: close to more than one, or two names claim one
    entry. none: nothing reaches ``least``.
    """
    spelled = set(reference)
    mine = {name: _words(name) for name in dict.fromkeys(names)}
    listed = {entry: _words(entry) for entry in dict.fromkeys(reference)}
    idle = _common(mine.values()) ^ _common(listed.values())
    by_plain: dict[str, list[str]] = {}
    for entry, words in listed.items():
        by_plain.setdefault(_plain(words, idle), []).append(entry)
    plains = list(by_plain)
    found = [
        Match(name, name, 100.0, "same")
        if name in spelled
        else _best(name, _plain(words, idle), by_plain, plains, least, margin)
        for name, words in mine.items()
    ]
    return tuple(_without_rivals(found))


def _best(
    name: str, plain: str, by_plain: dict[str, list[str]], plains: list[str], least: float, margin: float
) -> Match:
    same = by_plain.get(plain, [])
    if len(same) == 1:
        return Match(name, same[0], 100.0, "exact")
    if same:
        return Match(name, same[0], 100.0, "ambiguous", same[1])
    ranked = process.extract(plain, plains, scorer=fuzz.token_sort_ratio, limit=_CANDIDATES)
    if not ranked or ranked[0][1] < least:
        near = by_plain[ranked[0][0]][0] if ranked else ""
        return Match(name, "", ranked[0][1] if ranked else 0.0, "none", near)
    (first, score, _), *others = ranked
    second = others[0] if others else ("", 0.0, 0)
    entries = by_plain[first]
    rival = entries[1] if len(entries) > 1 else by_plain[second[0]][0] if second[0] else ""
    clear = len(entries) == 1 and score - second[1] >= margin and _marks(plain) == _marks(first)
    return Match(name, entries[0], score, "close" if clear else "ambiguous", "" if clear else rival)


def _without_rivals(found: Sequence[Match]) -> list[Match]:
    """Two names of one reference entry may be two entities: a close match gives way to a better one, or to doubt."""
    claims: dict[str, list[Match]] = {}
    for match in found:
        if match.kind in ("same", "exact", "close"):
            claims.setdefault(match.reference, []).append(match)
    doubted = {
        match.name: max((rival for rival in rivals if rival is not match), key=lambda rival: rival.score).name
        for rivals in claims.values()
        if len(rivals) > 1
        for match in rivals
        if match.kind == "close"
    }
    return [
        replace(match, kind="ambiguous", next_best=doubted[match.name]) if match.name in doubted else match
        for match in found
    ]


def _words(name: str) -> tuple[str, ...]:
    """Lower case without accents, punctuation and legal forms; digits and word order are kept."""
    closed = re.sub(r"\b(?:\w\.){2,}", lambda dotted: dotted[0].replace(".", ""), name.casefold())
    folded = unicodedata.normalize("NFKD", closed.replace("&", " and "))
    words = re.findall(r"[^\W_]+", "".join(sign for sign in folded if not unicodedata.combining(sign)))
    return tuple(word for word in words if word not in _FORMS) or tuple(words)


def plain_name(name: str) -> str:
    """A name in lower case without accents, punctuation and legal forms: "L'Oréal S.A." is "l oreal"."""
    return " ".join(_words(name))


def _common(names: Collection[tuple[str, ...]]) -> frozenset[str]:
    """Words that most names have ("district"): on one side only, they tell nothing apart."""
    counts = Counter(word for words in names for word in set(words))
    return frozenset(word for word, count in counts.items() if len(names) > 1 and count > _MOST * len(names))


def _marks(plain: str) -> list[str]:
    """Single letters and numbers: "class A" is not "class B", however alike the rest."""
    return sorted(word for word in plain.split() if len(word) == 1 or word.isdigit())


def _plain(words: tuple[str, ...], idle: frozenset[str]) -> str:
    return " ".join(word for word in words if word not in idle) or " ".join(words)


def read_reference(path: Path, column: str = "") -> tuple[str, ...]:
    """The list's names: of ``column``, or of its first column. Raises :class:`ConfigError` or :class:`DataError`."""

    def choose(names: tuple[str, ...]) -> Sequence[Wanted]:
        return (Wanted(column or names[0], "text"),)

    (found,) = read_table(path, choose, path.name).texts.values()
    names = tuple(found.texts[code] for code in found.codes if found.texts[code])
    if not names:
        raise DataError(f"{path.name}: column {column or 'the first'!r} holds no names; name another with --column")
    return names


def write_aliases(path: Path, matches: Sequence[Match]) -> int:
    """Write exact and close matches whose spelling differs as a new CSV of alias and entity; how many."""
    pairs = [(match.name, match.reference) for match in matches if match.kind in ("exact", "close")]
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(("alias", "entity"))
    out.writerows(pairs)
    try:
        write_new(path, text.getvalue().encode())
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; name a new file, and merge by hand") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name another place") from None
    return len(pairs)
