"""A home with texts: posts of a few companies as a party's query yields them, and the panel made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parties.data.panel import build_feature_panel
from parties.data.text_scorer import open_scorer, pin_of
from parties.settings.consortium import PartySettings
from parties.settings.text import TextSettings
from vfl.factors.panel import Calendar, FeaturePanel

__all__ = ["SQL", "Post", "calendar", "home_with", "panel_of", "party", "pinned"]

Post = tuple[str, str, str]
"""Entity, time (UTC) and text."""

SQL = "SELECT entity, time, text FROM read_parquet('${data}/posts.parquet')"


def pinned(folder: Path, **terms: Any) -> dict[str, Any]:
    """Terms of ``[party.text]`` with the pin of the scorer that they name."""
    given = {"query": "posts.sql", "lag_days": 0} | terms
    return given | {"pin": pin_of(open_scorer(TextSettings.model_validate(given), folder))}


def party(folder: Path, **terms: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "social", "role": "feature", "whiten": False, "text": pinned(folder, **terms)}
    )


def home_with(folder: Path, posts: Sequence[Post], sql: str = SQL) -> Path:
    (folder / "posts.sql").write_text(sql)
    entity, time, text = zip(*posts, strict=True)
    stamps = np.array(time, dtype="datetime64[us]")
    pq.write_table(pa.table({"entity": entity, "time": stamps, "text": text}), folder / "posts.parquet")
    return folder


def calendar(first: str = "2024-03-01", weeks: int = 8) -> Calendar:
    """Fridays."""
    ends: NDArray[np.datetime64] = (
        np.datetime64(first, "ns") + np.arange(weeks) * np.timedelta64(7, "D") + np.timedelta64(86_399_999_999, "us")
    )
    return Calendar(tuple(str(end)[:10] for end in ends), ends, ends)


def panel_of(settings: PartySettings, home: Path, names: Sequence[str], dates: Calendar | None = None) -> FeaturePanel:
    return build_feature_panel(settings, home, home, dates or calendar(), names)
