"""A post, page or filing as plain words: decoded, without markup and addresses, in one Unicode form.

Everything here takes time in proportion to a text's length, whatever the text is: whoever posts it may mean harm.
"""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from collections.abc import Container

__all__ = ["decoded", "plain_text", "words_of"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it is asked first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TAG = re.compile(r"<(?:[A-Za-z/?]|!--|!\[|![Dd][Oo])")
_MOST_TAGS = 4_000
"""Of one text: the tree that HTML's rules build takes longer than in proportion, so what follows is not read."""

_ADDRESS = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
"""Scripts that leave no space between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese. Each character is a word."""

_INVISIBLE = dict.fromkeys(
    (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFE0E, 0xFE0F, 0xFEFF, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080))
)
"""What joins, breaks or tints other characters: soft hyphens, joiners, variation selectors, skin tones, tags."""

_STRAIGHT = {0x2018: "'", 0x2019: "'", 0x02BC: "'", 0x201C: '"', 0x201D: '"'}
_MARKED = {**_INVISIBLE, **_STRAIGHT}
_EDGES = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u2026\u2013\u2014\u00bf\u00a1\u3002\uff01\uff1f"


def decoded(raw: bytes, most: int) -> tuple[str, bool]:
    """Bytes as text of at most ``most`` characters, and whether they were neither UTF-8 nor marked as UTF-16 or 32.

    Such bytes are read as Windows-1252, in which every byte is a character; nothing is guessed from letters.
    """
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            body = raw[len(mark) :][: 4 * most]
            return codecs.getincrementaldecoder(encoding)("replace").decode(body)[:most], False
    body = raw[: 4 * most]
    try:
        return codecs.getincrementaldecoder("utf-8")("strict").decode(body, final=len(raw) <= len(body))[:most], False
    except UnicodeDecodeError:
        return body.decode("cp1252", errors="replace")[:most], True


def plain_text(text: str, most: int) -> str:
    """At most ``most`` characters of a text, without markup, scripts, styles and addresses, entities resolved."""
    text = text[:most]
    if "<" in text and _TAG.search(text):
        text = _without_markup(text)
    elif "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_MARKED)
    if "://" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    return text


def words_of(text: str, known: Container[str] = ()) -> list[str]:
    """The words of a plain text, lower case, without punctuation at their edges; those ``known`` stay as they are."""
    text = text.lower()
    if not text.isascii():
        text = _UNSPACED.sub(r" \g<0> ", text)
    return [word if word in known else word.strip(_EDGES) or word for word in text.split()]


def _without_markup(text: str) -> str:
    # compiled, and for marked-up texts only
    from selectolax.lexbor import LexborHTMLParser

    places = [found.start() for found in _TAG.finditer(text)]
    if len(places) > _MOST_TAGS:
        text = text[: places[_MOST_TAGS]]
    tree = LexborHTMLParser(text.replace("\0", " "))
    tree.strip_tags(["script", "style", "template", "noscript"])
    return "" if tree.root is None else tree.root.text(separator=" ")
