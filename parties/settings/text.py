"""``[party.text]``: posts, news or filings that a party's node turns into columns at home."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vfl.terms import Terms

__all__ = ["TextColumn", "TextSettings"]

TextColumn = Literal["count", "surge", "novelty", "sentiment", "disagreement"]

_SCORED = ("sentiment", "disagreement")


class TextSettings(Terms):
    """Texts of this party, which never leave it. The query yields entity, time, text and, where the feed says it,
    available_at; the node makes columns text_count, ... of them."""

    query: str = Field(description="SQL file, relative to consortium.toml")
    columns: tuple[TextColumn, ...] = Field(
        default=("count", "surge", "novelty", "sentiment", "disagreement"),
        description="what is made of the texts of the last window_days: how many; against memory_days before; share of "
        "new words; mean score; its deviation",
    )
    lag_days: int | None = Field(
        default=None, ge=0, description="days from a text's time until it is known; without it the party's lag_days"
    )
    window_days: int = Field(default=7, ge=1, le=366, description="days whose texts make a value")
    memory_days: int = Field(default=28, ge=1, le=3660, description="days before a text in which its words may be old")
    words: int = Field(default=2, ge=1, le=8, description="words in a row that are new together or not")
    most_characters: int = Field(
        default=100_000, ge=100, le=20_000_000, description="of one text, markup included; what follows is not read"
    )
    scorer: Literal["vader", "lexicon", "transformers", "none"] = Field(
        default="vader",
        description="vader: the word list of the package vaderSentiment; lexicon: a CSV of your own; transformers: a "
        "model of your own",
    )
    path: str = Field(
        default="",
        description="lexicon: CSV with word, score or with Word, Negative, Positive; transformers: folder with "
        "config.json, a tokenizer and model.safetensors",
    )
    version: str = Field(default="", max_length=60, description="of the lexicon or model in path, for the others")
    language: str = Field(default="English", max_length=60, description="that the scorer reads; for the others")
    pin: str = Field(
        default="",
        max_length=400,
        description="scorer, version, hash of its bytes and of what it makes of fixed texts: entente data check tells "
        "it",
    )

    @model_validator(mode="after")
    def _whole(self) -> TextSettings:
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise ValueError("text.columns must be named, once each")
        needed = self.scorer in ("lexicon", "transformers")
        if needed != bool(self.path):
            raise ValueError(
                f'text.scorer = "{self.scorer}" needs text.path: the file or folder of your own'
                if needed
                else f'text.path belongs to the scorers lexicon and transformers, not to "{self.scorer}": drop it'
            )
        if self.scorer == "none" and (scored := sorted(set(self.columns) & set(_SCORED))):
            raise ValueError(f'text.columns {scored} need a scorer, and text.scorer is "none": drop them or choose one')
        return self

    @property
    def scores(self) -> bool:
        """Whether any column needs the scorer."""
        return bool(set(self.columns) & set(_SCORED))

    @property
    def output_columns(self) -> tuple[str, ...]:
        """The columns it makes."""
        return tuple(f"text_{name}" for name in self.columns)

    def declared(self) -> str:
        """What the other parties sign of it: what is read, by which frozen scorer, and when a text counts."""
        words = "words" if self.words == 1 else f"runs of {self.words} words"
        scored = f"scored by {self.pin or 'a scorer without a pin'}, for {self.language}" if self.scores else "no score"
        pinned = "" if self.scores else f"; read by {self.pin or 'rules without a pin'}"
        return (
            f"{', '.join(self.output_columns)}: of this party's texts of the last {self.window_days} days; new are "
            f"{words} that the entity's texts of {self.memory_days} days before a text did not have; {scored}{pinned}; "
            f"at most {self.most_characters} characters of a text"
        )
