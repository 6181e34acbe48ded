"""Made-up posts about made-up companies: how many, how cheerful and how new they are follows three hidden states.

They look like what a feed delivers: cashtags, addresses, emoji, markup, reposts, and times in UTC. The words of praise
and complaint are plain English ones, so that a word list finds them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["POSTS_SQL", "posts_table"]

POSTS_SQL = """-- Simulated social fund: posts about companies, as they appeared. No column of them is a number.
SELECT company AS entity, posted AS time, body AS text
FROM read_parquet('${data}/posts.parquet')
"""

_PRAISE = ("great", "love", "impressive", "excellent", "happy", "strong", "wonderful", "best", "win", "\U0001f60d")
_COMPLAINT = ("terrible", "hate", "awful", "broken", "angry", "weak", "disappointing", "worst", "fail", "\U0001f621")
_THINGS = (
    *("store", "queue", "app", "till", "parcel", "shelf", "refund", "ticket", "menu", "screen", "driver", "label"),
    *("battery", "charger", "coat", "shoe", "lamp", "tyre", "invoice", "update", "login", "voucher", "branch", "plant"),
)
_TELLS = (
    *(
        "today",
        "again",
        "downtown",
        "online",
        "overnight",
        "here",
        "near",
        "after",
        "before",
        "during",
        "behind",
        "per",
    ),
    *(
        "with",
        "without",
        "upstairs",
        "abroad",
        "monday",
        "friday",
        "lately",
        "twice",
        "once",
        "since",
        "until",
        "around",
    ),
)
_WRAPPED = ("{}", "{}", "{}", "<p>{}</p>", "{} https://posts.example/{}", "RT: {} &amp; more")
_PER_WEEK = 3.0
_MOST = 12
_REPOSTED = 14
"""Last texts of a company from which a repost is taken: those of about two weeks."""

Floats = NDArray[np.float64]


def posts_table(
    rng: np.random.Generator,
    spelled: pa.Array,
    week: NDArray[np.int64],
    states: Floats,
    fridays: NDArray[np.datetime64],
) -> pa.Table:
    """Posts of the rows (week, company) whose names are ``spelled``, (N,); states: float64 (3, N), one column a row.

    The first state says how many there are, the second how cheerful, the third how many are no repost. Rows of one
    company come in order of weeks.
    """
    number = np.minimum(rng.poisson(_PER_WEEK * np.exp(0.5 * np.clip(states[0], -3, 3))), _MOST)
    row = np.repeat(np.arange(len(week)), number)
    cheer = rng.random((row.size, 2)) < (1.0 / (1.0 + np.exp(-1.5 * states[1][row])))[:, None]
    fresh = rng.random(row.size) < 1.0 / (1.0 + np.exp(-1.5 * states[2][row]))
    drawn = rng.integers(0, 1 << 30, (row.size, 8))
    # from Saturday to Friday evening
    seconds = rng.integers(0, 6 * 86_400 + 20 * 3_600, row.size)
    posted = fridays[week[row]].astype("datetime64[s]") - np.timedelta64(6, "D") + seconds.astype("timedelta64[s]")
    names = spelled.to_pylist()
    recent: dict[Any, list[str]] = {}
    bodies = []
    for k, at in enumerate(row.tolist()):
        told = recent.setdefault(names[at], [])
        if fresh[k] or not told:
            told.append(_body(names[at], cheer[k].tolist(), drawn[k].tolist()))
            del told[:-_REPOSTED]
            bodies.append(told[-1])
        else:
            bodies.append(told[drawn[k, 0] % len(told)])
    zoned = pa.array(posted.astype("datetime64[us]"), type=pa.timestamp("us", tz="UTC"))
    table = pa.table({"company": spelled.take(pa.array(row)), "posted": zoned, "body": bodies})
    return table.sort_by([("posted", "ascending"), ("company", "ascending")])


def _body(name: str, cheer: list[bool], drawn: list[int]) -> str:
    """One post of six words and the company's tag."""
    said = [(_PRAISE if up else _COMPLAINT)[drawn[k] % len(_PRAISE)] for k, up in enumerate(cheer)]
    thing, other = _THINGS[drawn[2] % len(_THINGS)], _THINGS[drawn[3] % len(_THINGS)]
    when, how = _TELLS[drawn[4] % len(_TELLS)], _TELLS[drawn[5] % len(_TELLS)]
    plain = f"{name.strip()} {said[0]} {thing} {when} {how} {other} {said[1]}"
    return _WRAPPED[drawn[6] % len(_WRAPPED)].format(plain, drawn[7])
