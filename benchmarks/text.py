"""How fast texts become columns on one core: ``python -m benchmarks.text [--texts 100000] [--model FOLDER]``.

Short posts of 8 to 24 words, one word in ten from the word list, one post in ten with markup and one in ten with emoji;
and filings of 5,000 words. Each goes the whole way: markup, words, score, new runs of words, columns by day. With
``--model`` the posts are also scored by the classifier in that folder. Seconds are those of the process's own CPU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from parties.data.text_columns import text_figures
from parties.data.text_query import TextRows
from parties.data.text_scorer import Scorer, open_scorer
from parties.settings.text import TextSettings

__all__ = ["main", "posts", "texts_a_second"]

_ENTITIES, _DAYS = 500, 365
_PLAIN = ("company", "store", "queue", "product", "deal", "the", "new", "with", "for", "quarter", "price", "team")
_TONED = ("good", "bad", "great", "awful", "love", "hate", "strong", "weak", "win", "fail")


def posts(number: int, words: tuple[int, int], seed: int = 0) -> TextRows:
    """Made-up texts of so many words each, about 500 entities over a year."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array([*(f"{one}{k}" for one in _PLAIN for k in range(70)), *_TONED * 10], dtype=object)
    texts = []
    for k, size in enumerate(rng.integers(*words, number, endpoint=True)):
        text = " ".join(vocabulary[rng.integers(0, len(vocabulary), size)])
        texts.append(
            f"<p>{text} &amp; <b>more</b></p>" if k % 10 == 0 else f"{text} \U0001f680" if k % 10 == 1 else text
        )
    entity = np.array([f"E{k}" for k in rng.integers(0, _ENTITIES, number)], dtype=object)
    seconds = rng.integers(0, _DAYS * 86_400, number).astype("timedelta64[s]")
    return TextRows("posts", entity, (np.datetime64("2025-01-01") + seconds).astype("datetime64[ns]"), texts, ())


def texts_a_second(rows: TextRows, terms: TextSettings, scorer: Scorer) -> float:
    """By the CPU time of this process."""
    began = time.process_time()
    text_figures(terms, rows, rows.entity, scorer)
    return len(rows) / (time.process_time() - began)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--model", type=Path)
    asked = parser.parse_args(arguments)
    terms = TextSettings(query="")
    scorer = open_scorer(terms, Path())
    short = posts(asked.texts, (8, 24))
    print(f"posts, {scorer.name}: {texts_a_second(short, terms, scorer):,.0f} a second")
    long = posts(max(asked.texts // 1000, 1), (5000, 5000))
    print(f"filings of 5,000 words, {scorer.name}: {texts_a_second(long, terms, scorer):,.0f} a second")
    if asked.model is not None:
        own = TextSettings(query="", scorer="transformers", path=str(asked.model.resolve()))
        few = posts(max(asked.texts // 100, 1), (8, 24))
        print(f"posts, {asked.model.name}: {texts_a_second(few, own, open_scorer(own, Path())):,.0f} a second")


if __name__ == "__main__":
    main()
