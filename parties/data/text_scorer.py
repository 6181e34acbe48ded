"""What a text is scored by: a list of words that is frozen, and the fingerprint by which its drift is seen.

The pin of a scorer names it, its version, the hash of its bytes, and the hash of what it makes of texts that never
change. The pin stands in the agreement. A scorer whose pin is another now stops the run before it scores anything.

Source: word list, emoji, boosters and negations of VADER, Hutto and Gilbert (2014), MIT licence. Of its rules these
are kept: a negation or booster among the three words before a hit, and the squashing of the sum. Lists of one's own:
positive and negative words as Loughran and McDonald (2011) count them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from parties.data.plain_text import plain_text, words_of
from parties.data.text_probes import PROBES
from parties.errors import ConfigError, DataError
from parties.files.columns import Wanted
from parties.files.table import read_table
from parties.settings.text import TextSettings

__all__ = ["DECIMALS", "Scorer", "ScorerDrift", "open_scorer", "pin_of", "pinned_scorer"]

DECIMALS = 4
"""Of a score: what a machine's arithmetic does beyond is nobody's news."""

_VERBS = ("is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "could", "would", "should", "must")
_PLAIN = ("no", "not", "none", "neither", "never", "nobody", "nor", "cannot", "can't", "won't", "without")
_NEGATIONS = frozenset((*_PLAIN, *(f"{verb}n't" for verb in _VERBS)))
"""Words that turn a hit of a list of one's own."""

_REACH = 3
_SQUASH = 15.0
_PROBE_CHARACTERS = 10_000


class ScorerDrift(DataError):
    """The scorer is not the agreed one, or makes other scores of the same texts."""


@dataclass(frozen=True)
class Scorer:
    """name, version: for people. digest: SHA-256 of its bytes, hex. read: words of a plain text.

    score: from a plain text and its words to a number in [-1, 1]; None where nothing is scored.
    """

    name: str
    version: str
    digest: str
    read: Callable[[str], list[str]]
    score: Callable[[str, Sequence[str]], float] | None


@dataclass(frozen=True)
class _Words:
    """Scores by a list of words. valence: by word. boosts: added to the valence of the words that follow.

    reversal: what a negation multiplies a valence by. polarity: (P - N) / (P + N) of all valences, instead of their
    squashed sum.
    """

    valence: Mapping[str, float]
    negations: frozenset[str]
    boosts: Mapping[str, float]
    reversal: float
    polarity: bool

    def __call__(self, _: str, words: Sequence[str]) -> float:
        valence = self.valence
        hits = [place for place, word in enumerate(words) if word in valence]
        if not hits:
            return 0.0
        found = [self._turned(valence[words[k]], words[max(0, k - _REACH) : k]) for k in hits]
        total = math.fsum(found)
        if self.polarity:
            return round(total / math.fsum(map(abs, found)), DECIMALS)
        return round(total / math.sqrt(total * total + _SQUASH), DECIMALS)

    def _turned(self, value: float, before: Sequence[str]) -> float:
        """A hit's valence by the words before it: boosters first, so that a negation turns all of it."""
        if not self.boosts.keys().isdisjoint(before):
            sign = math.copysign(1.0, value)
            for steps, word in enumerate(reversed(before)):
                value += sign * self.boosts.get(word, 0.0) * (1.0 - 0.05 * steps)
        if not self.negations.isdisjoint(before):
            value *= self.reversal ** sum(word in self.negations for word in before)
        return value


def open_scorer(terms: TextSettings, folder: Path) -> Scorer:
    """The scorer that the settings name, as it lies here now. Raises :class:`ConfigError` where it does not."""
    if terms.scorer == "vader":
        return _vader()
    if terms.scorer == "lexicon":
        return _own_words(folder / terms.path, terms.version)
    if terms.scorer == "transformers":
        # torch and transformers, for a party with a model alone
        from parties.data.text_model import local_model

        return local_model(folder / terms.path, terms.version)
    return Scorer("no scorer", "1", hashlib.sha256(b"").hexdigest(), words_of, None)


def pin_of(scorer: Scorer) -> str:
    """What stands in the agreement: the same for the same bytes that make the same of the same texts."""
    seen = hashlib.sha256()
    for probe in PROBES:
        text = plain_text(probe, _PROBE_CHARACTERS)
        words = scorer.read(text)
        score = None if scorer.score is None else f"{scorer.score(text, words):.{DECIMALS}f}"
        seen.update(repr((words, score)).encode())
    version = f" {scorer.version}" if scorer.version else ""
    return f"{scorer.name}{version}, bytes {scorer.digest}, probes {seen.hexdigest()}"


def pinned_scorer(terms: TextSettings, folder: Path, source: str) -> Scorer:
    """The scorer, if it is the agreed one. Raises :class:`ConfigError` without a pin, else :class:`ScorerDrift`."""
    scorer = open_scorer(terms, folder)
    now = pin_of(scorer)
    if not terms.pin:
        raise ConfigError(f'{source}: text.pin is missing; write pin = "{now}" under [party.text], and propose again')
    if now != terms.pin:
        raise ScorerDrift(
            f"{source}: the scorer of [party.text] drifted: {_what_changed(terms.pin, now)}; put the agreed one back, "
            f'or write pin = "{now}" and propose again',
            terms.output_columns[0],
        )
    return scorer


def _what_changed(agreed: str, now: str) -> str:
    """The first part of a pin that is another now."""
    parts = ("name or version", "bytes", "scores of the same texts")
    old, new = agreed.split(", "), now.split(", ")
    for what, one, two in zip(parts, old, new, strict=False):
        if one != two:
            return f"its {what} changed ({one} was agreed, {two} is here)"
    return f"its pin changed ({agreed} was agreed)"


def _vader() -> Scorer:
    """The word list of vaderSentiment, read from its files, with its boosters and negations."""
    try:
        version = importlib.metadata.version("vaderSentiment")
        # it imports an HTTP client that it needs for a demonstration alone
        from vaderSentiment.vaderSentiment import BOOSTER_DICT, N_SCALAR, NEGATE

        place = importlib.resources.files("vaderSentiment")
        lexicon, emoji = (place.joinpath(n).read_bytes() for n in ("vader_lexicon.txt", "emoji_utf8_lexicon.txt"))
    except (ImportError, OSError):
        raise ConfigError('text.scorer = "vader" needs its package: pip install vaderSentiment') from None
    valence, signs = _parsed(lexicon, emoji)

    def read(text: str) -> list[str]:
        return words_of(text if text.isascii() else text.translate(signs), valence)

    score = _Words(valence, frozenset(NEGATE), BOOSTER_DICT, N_SCALAR, polarity=False)
    return Scorer("vaderSentiment", version, hashlib.sha256(lexicon + emoji).hexdigest(), read, score)


@lru_cache(maxsize=2)
def _parsed(lexicon: bytes, emoji: bytes) -> tuple[dict[str, float], dict[int, str]]:
    """Valence by word, and the words of each emoji that is one character."""
    rows = (line.split("\t")[:2] for line in lexicon.decode("utf-8").splitlines() if "\t" in line)
    valence = {word.strip().lower(): float(value) for word, value in rows}
    told = dict(line.strip().split("\t")[:2] for line in emoji.decode("utf-8").splitlines() if "\t" in line)
    return valence, {ord(sign): f" {words} " for sign, words in told.items() if len(sign) == 1}


def _own_words(path: Path, version: str) -> Scorer:
    """A CSV of word and score, or of Word, Negative and Positive, where a number above 0 says that the word is one."""

    def chosen(names: tuple[str, ...]) -> Sequence[Wanted]:
        if {"Word", "Negative", "Positive"} <= set(names):
            return Wanted("Word", "text"), Wanted("Negative", "number"), Wanted("Positive", "number")
        return Wanted("word", "text"), Wanted("score", "number")

    table = read_table(path, chosen, path.name, hint="a lexicon has word and score, or Word, Negative and Positive")
    column = table.texts["word" if "word" in table.texts else "Word"]
    words = [column.texts[code].strip().lower() for code in column.codes]
    if "score" in table.numbers:
        values: list[float] = table.numbers["score"].values.tolist()
    else:
        ups, downs = (table.numbers[name].values > 0 for name in ("Positive", "Negative"))
        values = [float(up) - float(down) for up, down in zip(ups, downs, strict=True)]
    valence: dict[str, float] = {}
    for row, (word, value) in enumerate(zip(words, values, strict=True)):
        if not math.isfinite(value):
            raise table.fault(row, f"the word {word!r} has no score; fill it in, or leave the row out")
        if valence.setdefault(word, value) != value:
            raise table.fault(row, f"the word {word!r} has another score in an earlier row; keep one")
    valence = {word: value for word, value in valence.items() if value}
    if not valence:
        raise DataError(f"{path.name}: no word has a score other than 0; fill it in, or name another file")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    score = _Words(valence, _NEGATIONS, {}, -1.0, polarity=True)
    return Scorer(path.name, version, digest, lambda text: words_of(text, valence), score)
