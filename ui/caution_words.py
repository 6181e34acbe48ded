"""Cautions in the words of the form: each begins with the path of its term, which a reader of pages need not know."""

from __future__ import annotations

import re

from ui.run_form import label_at
from ui.wording import as_sentence

__all__ = ["caution_words"]

_PATH = re.compile(r"[a-z_]+(\.[a-z0-9_]+)+")
_LONE = frozenset(("continues", "daily", "expires_at", "fees", "placebo", "readers", "recipients"))
"""Terms of one word, which could be a party's name as well."""


def caution_words(caution: str) -> str:
    """The caution as a sentence, under what the form calls its term where it has a field for it. Not yet escaped."""
    path, mark, said = caution.partition(": ")
    if not mark or not (path in _LONE or _PATH.fullmatch(path)):
        return as_sentence(caution)
    label, sentence = label_at(path), as_sentence(said)
    if not label or label.lower() in sentence.lower().split(" ", 2)[:2]:
        return sentence
    return f"{label}: {sentence}"
