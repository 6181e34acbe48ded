"""The made-up data vendors of the simulator: what they measure, how they spell companies, when they publish.

Pure tables; :mod:`parties.data.simulate` turns them into files. Every vendor sees its companies through
three hidden states of its own; a column is one noisy view of one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["FUND", "POSTING", "SPELL", "VENDORS", "Column", "Spelling", "Vendor", "count", "rate", "spelling"]

Spelling = Literal["dot", "dash", "cashtag", "slash", "space", "padded"]


SPELL: dict[Spelling, Callable[[str], str]] = {
    "dot": lambda ticker: ticker,
    "dash": lambda ticker: ticker.lower().replace(".", "-"),
    "cashtag": lambda ticker: "$" + ticker.replace(".", "-"),
    "slash": lambda ticker: ticker.replace(".", "/"),
    "space": lambda ticker: ticker.replace(".", " "),
    "padded": lambda ticker: f" {ticker.title()} ",
}


def spelling(style: Spelling, ticker: str, company: int) -> str:
    """Who spells with slashes knows some companies by a trade name only."""
    return f"Merchant {company:05d}" if style == "slash" and company % 20 == 0 else SPELL[style](ticker)


@dataclass(frozen=True)
class Column:
    """One measured quantity. state: which hidden state it sees (0, 1 or 2); loading: its correlation with it.

    kind count: a whole number around ``centre`` per unit of the company's size, log-spread ``spread``;
    kind rate: a number around ``centre`` with deviation ``spread``.
    """

    name: str
    kind: Literal["count", "rate"]
    state: int
    loading: float
    centre: float
    spread: float

    def sql(self, size: str) -> str:
        """The feature, over the raw columns of the vendor's file."""
        return f"ln((1.0 + {self.name}) / {size})" if self.kind == "count" else self.name


def count(name: str, state: int, loading: float, centre: float, spread: float = 0.35) -> Column:
    return Column(name, "count", state, loading, centre, spread)


def rate(name: str, state: int, loading: float, centre: float, spread: float) -> Column:
    return Column(name, "rate", state, loading, centre, spread)


@dataclass(frozen=True)
class Vendor:
    """One feature party.

    strength: its share of the linear signal, relative to the others. coverage: share of all companies.
    period_day: days from the decision Friday to the day its observation is dated (0 or less). publishes_after:
    days from that day to publication; late: share of rows published a week later still; stated: the file
    has its own availability (otherwise the settings give the lag). gaps: share of rows that do not exist;
    holes: share of single values missing. tail: degrees of freedom of its noise; bursts: share of
    rows with an outburst. seasonal: amplitude of a yearly swing, by sector. revised: each row is published
    again four weeks later, less noisy. oldest: days after which its users call an observation missing.
    """

    name: str
    legal_entity: str
    size: str
    columns: tuple[Column, ...]
    spelling: Spelling
    strength: float
    coverage: float
    period_day: int = 0
    publishes_after: int = 0
    stated: bool = False
    late: float = 0.0
    gaps: float = 0.02
    holes: float = 0.01
    tail: float = 30.0
    bursts: float = 0.0
    seasonal: float = 0.0
    revised: bool = False
    indicator: str = ""
    oldest: int = 35


FUND = Vendor(
    "fund",
    "Simulated label fund",
    "shares",
    (
        rate("value", 0, 0.75, 0.6, 0.25),
        rate("quality", 1, 0.75, 0.12, 0.05),
        rate("revisions", 0, 0.60, 0.0, 0.1),
        rate("dividend_yield", 2, 0.70, 0.02, 0.008),
        rate("accruals", 1, 0.50, 0.0, 0.04),
    ),
    "dot",
    strength=0.0,
    coverage=0.97,
    gaps=0.0,
)
"""The label party: these fundamentals, and prices, from which its other features and the label are made."""

VENDORS = (
    Vendor(
        "satellite",
        "Simulated satellite fund",
        "sites",
        (
            count("cars", 0, 0.80, 120),
            count("trucks", 0, 0.70, 14),
            rate("lot_fill", 0, 0.75, 0.55, 0.08),
            rate("night_light", 1, 0.80, 21.0, 4.0),
            rate("light_growth", 1, 0.65, 0.02, 0.05),
            rate("heat", 2, 0.70, 29.0, 2.5),
            count("containers", 2, 0.60, 30),
            rate("new_roof_area", 1, 0.45, 3.0, 1.0),
        ),
        "dash",
        strength=1.1,
        coverage=0.88,
        period_day=-2,
        publishes_after=1,
        stated=True,
        late=0.08,
        gaps=0.12,
        holes=0.03,
        indicator="night_light",
        oldest=10,
    ),
    Vendor(
        "social",
        "Simulated social fund",
        "followers",
        (
            count("mentions", 0, 0.75, 40, 0.6),
            count("authors", 0, 0.75, 25, 0.5),
            rate("sentiment", 1, 0.75, 0.08, 0.2),
            rate("news_tone", 1, 0.65, 0.02, 0.15),
            rate("positive_share", 1, 0.70, 0.4, 0.1),
            count("complaints", 2, 0.65, 6, 0.6),
            rate("reply_ratio", 2, 0.60, 0.3, 0.1),
            count("influencers", 0, 0.55, 3, 0.7),
            count("questions", 2, 0.50, 5, 0.6),
            rate("virality", 0, 0.60, 1.4, 0.4),
        ),
        "cashtag",
        strength=0.8,
        coverage=0.94,
        holes=0.02,
        tail=3.0,
        bursts=0.02,
    ),
    Vendor(
        "card",
        "Simulated card-spend fund",
        "shoppers",
        (
            rate("sales_growth", 0, 0.80, 0.04, 0.08),
            rate("ticket_growth", 0, 0.65, 0.02, 0.04),
            count("transactions", 0, 0.75, 55),
            rate("repeat_share", 1, 0.75, 0.45, 0.1),
            count("new_shoppers", 1, 0.65, 8),
            rate("online_share", 1, 0.60, 0.3, 0.12),
            rate("basket_lines", 2, 0.60, 4.2, 0.8),
            rate("refund_share", 2, 0.65, 0.05, 0.02),
            rate("share_of_wallet", 0, 0.60, 0.12, 0.04),
            rate("weekend_share", 2, 0.55, 0.38, 0.06),
            rate("average_ticket", 1, 0.50, 48.0, 11.0),
            rate("churn", 0, 0.55, 0.09, 0.03),
        ),
        "slash",
        strength=1.0,
        coverage=0.91,
        period_day=-5,
        publishes_after=4,
        stated=True,
        late=0.02,
        seasonal=0.5,
        revised=True,
    ),
    Vendor(
        "web",
        "Simulated web-traffic fund",
        "pages",
        (
            count("visits", 0, 0.75, 900),
            count("visitors", 0, 0.70, 400),
            rate("bounce", 1, 0.65, 0.42, 0.09),
            rate("minutes", 1, 0.70, 3.1, 0.8),
            rate("search_share", 2, 0.60, 0.33, 0.08),
            count("checkouts", 0, 0.65, 20),
            rate("mobile_share", 2, 0.50, 0.6, 0.1),
            rate("direct_share", 1, 0.55, 0.25, 0.07),
            count("returns", 2, 0.50, 9),
        ),
        "space",
        strength=0.7,
        coverage=0.93,
        period_day=-1,
        publishes_after=1,
        seasonal=0.2,
    ),
    Vendor(
        "jobs",
        "Simulated jobs fund",
        "employees",
        (
            count("openings", 0, 0.75, 12),
            count("sales_openings", 0, 0.65, 4),
            count("engineer_openings", 1, 0.65, 5),
            rate("days_open", 1, 0.60, 41.0, 9.0),
            rate("pay_offered", 1, 0.55, 61.0, 8.0),
            rate("employer_rating", 2, 0.65, 3.6, 0.4),
            rate("leavers_share", 0, 0.60, 0.02, 0.01),
            count("reviews", 2, 0.50, 7),
        ),
        "padded",
        strength=0.6,
        coverage=0.92,
        period_day=-4,
        publishes_after=2,
    ),
    Vendor(
        "shipping",
        "Simulated shipping fund",
        "lanes",
        (
            count("inbound", 0, 0.75, 60),
            count("outbound", 0, 0.70, 45),
            rate("days_at_port", 1, 0.65, 4.0, 1.1),
            rate("freight_rate", 1, 0.60, 1900.0, 300.0),
            count("suppliers", 2, 0.60, 18),
            rate("weight_per_box", 2, 0.55, 11.0, 2.0),
            rate("air_share", 0, 0.55, 0.1, 0.04),
            rate("delay_share", 1, 0.60, 0.2, 0.06),
        ),
        "dash",
        strength=0.6,
        coverage=0.90,
        period_day=-5,
        publishes_after=3,
        gaps=0.06,
    ),
    Vendor(
        "apps",
        "Simulated app-panel fund",
        "panel",
        (
            count("downloads", 0, 0.70, 70, 0.5),
            count("daily_users", 0, 0.75, 300),
            rate("session_minutes", 1, 0.65, 6.0, 1.5),
            rate("stickiness", 1, 0.70, 0.22, 0.05),
            rate("store_rating", 2, 0.65, 4.2, 0.3),
            count("crashes", 2, 0.55, 15, 0.6),
            rate("paying_share", 0, 0.60, 0.05, 0.02),
            count("uninstalls", 1, 0.55, 25),
            rate("rank_change", 0, 0.50, 0.0, 9.0),
            rate("push_opt_in", 2, 0.45, 0.5, 0.1),
        ),
        "cashtag",
        strength=0.6,
        coverage=0.93,
        tail=5.0,
    ),
    Vendor(
        "energy",
        "Meterline Co-operative",
        "meters",
        (
            count("megawatt_hours", 0, 0.75, 210),
            rate("load_growth", 0, 0.65, 0.01, 0.04),
            rate("night_load", 1, 0.65, 0.35, 0.07),
            rate("peak_ratio", 1, 0.60, 1.7, 0.2),
            rate("gas_share", 2, 0.60, 0.28, 0.08),
            count("water", 2, 0.50, 130),
            rate("solar_share", 2, 0.45, 0.08, 0.04),
            count("truck_charges", 0, 0.50, 16),
        ),
        "dot",
        strength=0.5,
        coverage=0.95,
        period_day=-3,
        publishes_after=2,
        seasonal=0.4,
    ),
)

POSTING = 2
"""Which of them, counted from 1, has posts as well as numbers: the social fund."""
