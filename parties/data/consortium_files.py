"""The texts of a simulated consortium: consortium.toml, the parties' SQL and a README."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from parties.data.simulated_posts import POSTS_SQL
from parties.data.text_scorer import open_scorer, pin_of
from parties.data.vendors import FUND, POSTING, VENDORS, Vendor
from parties.names import COORDINATOR
from parties.settings.text import TextSettings

__all__ = ["FUND_COLUMNS", "SimulatedModel", "opening_plan", "write_texts"]

SimulatedModel = Literal["sealed", "split"]
"""The kind of model that a simulated consortium's terms ask for."""

FUND_COLUMNS = (
    *(column.name for column in FUND.columns),
    "momentum",
    "reversal",
    "volatility",
    "size",
)

_LARGEST_FRACTION = 0.6
_WIDTH, _EPOCHS, _OPENINGS = 2, 1, 6

_FUND_SQL = """-- {legal}: fundamentals, and features made from prices. Each Friday's close is known that evening.
WITH weekly AS (
  SELECT *, close / lag(close) OVER (PARTITION BY security ORDER BY friday) - 1 AS earned
  FROM read_parquet('${{data}}/prices.parquet')
),
priced AS (
  SELECT security, friday,
    close / lag(close, 12) OVER chain - 1 AS momentum,
    -earned AS reversal,
    stddev_samp(earned) OVER (chain ROWS 11 PRECEDING) AS volatility,
    ln(close) AS log_close
  FROM weekly
  WINDOW chain AS (PARTITION BY security ORDER BY friday)
)
SELECT company AS entity, observed AS period,
  {columns},
  momentum, reversal, volatility, log_close + ln(shares) AS size
FROM read_parquet('${{data}}/fund.parquet') AS held
JOIN priced ON priced.security = held.security AND priced.friday = held.observed
ORDER BY observed, company
"""

_LABEL_SQL = """-- The return of the week after the decision Friday, known at the close a week later.
WITH chained AS (
  SELECT company, friday, halted,
    lead(close) OVER chain / close - 1 AS earned,
    lead(friday) OVER chain AS resolved
  FROM read_parquet('${data}/prices.parquet')
  WINDOW chain AS (PARTITION BY security ORDER BY friday)
)
SELECT company AS entity, friday AS period, earned AS label,
  CAST(resolved AS TIMESTAMP) + INTERVAL 21 HOURS AS label_available_at,
  NOT halted AS in_universe
FROM chained
ORDER BY friday, company
"""

_README = """A simulated consortium, made by `entente simulate`. No company, fund or vendor here exists.

consortium.toml   the terms of a run, and each party's table
sql/              each party's query over its own files
aliases/          each party's own table of former and trade names
data/             what the vendors sent, one Parquet file each; prices.parquet is the fund's
truth.json        what nobody would know: which companies all cover, and the rank IC of the ideal factor,
                  of its linear part, and of each part alone, over the common companies

Weeks end on Fridays. The label of a Friday is the return of the week after it.
Feature parties: {parties}. Common companies: {entities}.
"""


def opening_plan(features: int, parties: int) -> tuple[int, int, str]:
    """(embedding width, openings per row, contribution) that fit ``features`` columns of ``parties`` feature parties.

    A row is opened for one prediction, for each epoch and for each coalition that contains it. Width 2
    where the allowed share of linear forms leaves room for that, else narrower; no coalitions where not
    even width 1 does. Raises ValueError for too few features.
    """
    coalitions = 2 ** (parties - 1) - 1 if parties > 1 else 0
    for contribution, extra in (("masked", coalitions), ("none", 0)):
        needed = 1 + _EPOCHS + extra
        for width in range(_WIDTH, 0, -1):
            room = int(_LARGEST_FRACTION * features / width)
            if room >= needed:
                return width, min(room, max(needed, _OPENINGS)), contribution
    raise ValueError(f"{features} features are too few for one prediction and {_EPOCHS} epochs: bring more columns")


def write_texts(
    out: Path,
    vendors: Sequence[Vendor],
    *,
    first: date,
    last: date,
    entities: int,
    model: SimulatedModel = "sealed",
    text: bool = False,
) -> Path:
    """Write everything but data, aliases and truth below ``out``; the path of consortium.toml. text: with posts."""
    folder = out / "sql"
    folder.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f"held.{column.name}" for column in FUND.columns)
    (folder / "fund.sql").write_text(_FUND_SQL.format(legal=FUND.legal_entity, columns=columns), encoding="utf-8")
    (folder / "label.sql").write_text(_LABEL_SQL, encoding="utf-8")
    posting = VENDORS[POSTING - 1] if text else None
    for vendor in vendors:
        if vendor is posting:
            (folder / "posts.sql").write_text(POSTS_SQL, encoding="utf-8")
            continue
        (folder / f"{vendor.name}.sql").write_text(_vendor_sql(vendor), encoding="utf-8")
    readme = _README.format(parties=", ".join(vendor.name for vendor in vendors), entities=entities)
    (out / "README.txt").write_text(readme, encoding="utf-8")
    config = out / "consortium.toml"
    config.write_text(_consortium(vendors, first, last, entities, model, posting), encoding="utf-8")
    return config


def _vendor_sql(vendor: Vendor) -> str:
    lines = ["company AS entity", "observed AS period"]
    if vendor.stated:
        lines.append("published AS available_at")
    lines += [f"{column.sql(vendor.size)} AS {column.name}" for column in vendor.columns]
    body = ",\n  ".join(lines)
    return (
        f"-- {vendor.legal_entity}: counts are per unit of {vendor.size}, in logarithms.\n"
        f"SELECT\n  {body}\nFROM read_parquet('${{data}}/{vendor.name}.parquet')\n"
    )


def _consortium(
    vendors: Sequence[Vendor], first: date, last: date, entities: int, model: SimulatedModel, posting: Vendor | None
) -> str:
    recipients = [FUND.name, *(vendor.name for vendor in vendors), COORDINATOR]
    text = f"""name = "simulated"
purpose = "A joint weekly factor from simulated data"
recipients = [{_listed(recipients)}]

[calendar]
frequency = "W-FRI"
first = {first}
last = {last}
decision_lag_days = 0

[label]
name = "next_week_return"
definition = "Return from the decision Friday's close to the next Friday's close"
query = "sql/label.sql"

[alignment]
policy = "psi"
minimum_common = {min(30, entities)}

[walk_forward]
horizon = 1
embargo = 0
warmup = 4

[reward]
unit = "USD"
scale = 2
pot = 1000000
rows = "any"  # made up after the fact: nobody could commit to these rows as they arrived
"""
    text += _SEALED if model == "sealed" else _split_terms(vendors)
    return (
        text
        + _party(FUND, "label", FUND_COLUMNS)
        + "".join(
            _posts_party(vendor)
            if vendor is posting
            else _party(vendor, "feature", [column.name for column in vendor.columns], flags=model == "sealed")
            for vendor in vendors
        )
    )


_SEALED = """
[model]
kind = "sealed"
"""
"""Its other terms are as they are by default, which serve both kinds of simulated signal."""


def _split_terms(vendors: Sequence[Vendor]) -> str:
    features = sum(len(vendor.columns) for vendor in vendors)
    width, limit, contribution = opening_plan(features, len(vendors))
    return f"""
[model]
kind = "split"
embedding_width = {width}
epochs = {_EPOCHS}

[openings]
limit_per_row = {limit}
largest_fraction = {_LARGEST_FRACTION}
contribution = "{contribution}"
single_party = {str(len(vendors) == 1).lower()}
"""


def _party(vendor: Vendor, role: str, columns: Sequence[str], *, flags: bool = True) -> str:
    """A party's table. flags: with a missing indicator, which nodes open in no model unless their operators say so."""
    lines = [
        "",
        "[[party]]",
        f'name = "{vendor.name}"',
        f'role = "{role}"',
        f'legal_entity = "{vendor.legal_entity}"',
        f'query = "sql/{vendor.name}.sql"',
        f"columns = [{_listed(columns)}]",
        f'aliases = "aliases/{vendor.name}.csv"',
        f"largest_age_days = {vendor.oldest}",
    ]
    if not vendor.stated:
        lines.append(f"lag_days = {vendor.publishes_after}")
    if vendor.indicator and flags:
        lines.append(f'missing_indicators = ["{vendor.indicator}"]')
    return "\n".join(lines) + "\n"


def _posts_party(vendor: Vendor) -> str:
    """A party of texts alone, with the word list that is installed here."""
    terms = TextSettings(query="sql/posts.sql")
    return f"""
[[party]]
name = "{vendor.name}"
role = "feature"
legal_entity = "{vendor.legal_entity}"
aliases = "aliases/{vendor.name}.csv"
lag_days = {vendor.publishes_after}
missing_indicators = ["text_sentiment"]

[party.text]
query = "{terms.query}"
pin = "{pin_of(open_scorer(terms, Path()))}"
"""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
