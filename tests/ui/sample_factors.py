"""The sample's answers about factors: a whole battery, a factor without files, and names that try to be markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np

from parties.client import (
    FactorCard,
    FactorCheck,
    FactorDetail,
    FactorPage,
    FaultView,
    FavouriteView,
    FileView,
    LiveView,
    LoggedView,
    SignerView,
    WarnView,
)
from parties.coordinator.desk.factors import battery_sections
from parties.errors import ConfigError
from vfl.factors.findings import Findings
from vfl.factors.market import MarketData
from vfl.factors.portfolio import BookTerms
from vfl.factors.validation import Subject, battery

__all__ = ["AWAY", "MADE", "OLDER", "away", "broken", "card", "check", "detail", "doors", "findings", "many"]

MADE, AWAY, OLDER = "a1" * 32, "e5" * 32, "f6" * 32
HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x^2$ [link](http://x)"
_LAST = date(2025, 6, 27)


@cache
def findings() -> Findings:
    """The battery over 90 periods of 60 made-up companies, with prices, sectors, styles and two known factors."""
    draw = np.random.default_rng(5)
    periods, names = 90, 60
    truth = draw.standard_normal((periods, names))
    scores = 0.35 * truth + draw.standard_normal((periods, names))
    own = 0.15 * truth + draw.standard_normal((periods, names))
    moves = 0.02 * truth + 0.03 * draw.standard_normal((periods, names))
    prices = 50 * np.exp(np.vstack([np.zeros((1, names)), np.cumsum(moves, axis=0)[:-1]]))
    wide = np.ones((periods, 1))
    market = MarketData(
        prices=prices,
        sectors=np.repeat((np.arange(names) % 6)[None, :], periods, axis=0),
        caps=wide * np.exp(draw.standard_normal(names) + 22),
        betas=wide * (1 + 0.3 * draw.standard_normal(names)),
        volatility=wide * (0.015 + 0.01 * draw.random(names)),
        dollar_volume=wide * np.exp(draw.standard_normal(names) + 17),
        styles={"value": draw.standard_normal((periods, names))},
        library={"momentum": draw.standard_normal((periods, names)), "quality": scores + truth},
    )  # fmt: skip
    known = np.repeat(np.minimum(np.arange(periods) + 1, periods)[:, None], names, axis=1).astype(np.int64)
    subject = Subject(
        periods=tuple(str(_LAST - timedelta(weeks=periods - 1 - i)) for i in range(periods)),
        scores=scores, labels=truth, horizon=1, known_from=known, own=own, embeddings=scores[:, :, None],
    )  # fmt: skip
    return battery(subject, market, BookTerms(periods_per_year=52), n_trials=3)


def card(run_id: str = MADE, **changes: Any) -> FactorCard:
    from tests.ui.sample import PARTIES, T0, series

    ics = [point.ic_joint for point in series(104) if point.ic_joint is not None]
    told: dict[str, Any] = {
        "run_id": run_id, "factor_id": "weekly-large-caps", "version": run_id[:12], "consortium": "Harbour consortium",
        "purpose": "Weekly factor, large caps", "created_at": T0, "available": True,
        "recipients": ("harbor", "coordinator"), "parties": PARTIES,
        "label_party": "harbor", "rows": 44_448, "bytes": 1_590_225, "sha256": "5d" * 32,
        "n_periods": 96, "ic_joint": 0.1104, "ic_own": 0.0553, "t_joint": 14.21, "uplift": 0.0551, "t_uplift": 7.3,
        "spark": tuple(float(v) for v in np.cumsum(ics)), "warnings": ("fingerprint",),
    }  # fmt: skip
    return FactorCard.model_validate(told | changes)


def detail(run_id: str = MADE, **changes: Any) -> FactorDetail:
    from tests.ui.sample import T0

    found = findings()
    told: dict[str, Any] = {
        "card": card(run_id), "may_download": True,
        "facts": {"Label": "Return over the next week", "Universe": HOSTILE, "Trials counted": "3"},
        "last_date": str(_LAST), "sections": battery_sections(found), "left_out": found.left_out,
        "warnings": (WarnView(name="fingerprint", text="persistent features identify entities " + HOSTILE),),
        "files": (FileView(path="factor.parquet", bytes=402_112, sha256="ab" * 32),),
        "forms": {"zip": "", "report": "", "csv": "", "alphalens": "", "qlib": "",
                  "numerai": "Numerai Signals needs at least 100 ids; the latest period has 60", "zipline": ""},
        "live": (LiveView(periods=("2025-W27", "2025-W28"), n_periods=2, v_everyone=0.08, v_nobody=0.03, made_at=T0,
                          phi={"orbit": 0.03, "till": 0.02}),),
    }  # fmt: skip
    return FactorDetail.model_validate(told | changes)


def check(**changes: Any) -> FactorCheck:
    from tests.ui.sample import T0

    told: dict[str, Any] = {
        "sound": True, "files": 13, "checked_at": T0,
        "signers": (SignerView(signer="harbor", key="cd" * 32, trusted=True),),
        "logged": (LoggedView(signer="harbor", index=9, size=10, at="2026-11-02T09:31:00+00:00"),),
    }  # fmt: skip
    return FactorCheck.model_validate(told | changes)


def broken() -> FactorCheck:
    fault = FaultView(file="factor.parquet", fact="was changed: 402113 bytes, 402112 were signed")
    return check(sound=False, faults=(fault,), signers=(), logged=())


def _away() -> FactorCard:
    changes = {"purpose": HOSTILE, "consortium": HOSTILE, "recipients": ("orbit",), "warnings": ()}
    return card(AWAY, factor_id="daily", available=False, **changes)


def away() -> FactorDetail:
    """A factor whose files are elsewhere, with a purpose that tries to be markup."""
    why = "The coordinator is not among the recipients: the files are at the parties named, and this is their report."
    return FactorDetail(card=_away(), withheld=why, sections=detail().sections[:1])


def doors(favourites: Callable[[Any], Sequence[FavouriteView]] = lambda _: ()) -> dict[str, Callable[[Any], Any]]:
    """The doors about factors: three of them, two of them versions of one. ``favourites`` says which are marked."""

    def older() -> FactorCard:
        spark = tuple(0.73 * value for value in card().spark)
        worse = {"ic_joint": 0.0805, "uplift": 0.0252, "t_joint": 9.8, "t_uplift": 3.4, "spark": spark}
        return card(OLDER, version="2024-q4", warnings=(), **worse)

    details = {MADE: detail, AWAY: away, OLDER: lambda: detail(OLDER, card=older(), live=())}

    def page(asked: Any) -> FactorPage:
        cards = [card(), _away(), older()]
        words = asked.search.casefold().split()
        found = [
            c for c in cards
            if (not asked.favourites or c.run_id in {one.what for one in favourites(None) if one.kind == "factor"})
            and (not asked.factor_id or c.factor_id == asked.factor_id)
            and all(word in f"{c.factor_id} {c.purpose} {c.run_id}".casefold() for word in words)
        ]  # fmt: skip
        return FactorPage(total=len(found), offset=asked.offset, cards=tuple(found[asked.offset :][: asked.limit]))

    def one(asked: Any) -> FactorDetail:
        if asked.run_id not in details:
            raise ConfigError(f"there is no run {asked.run_id[:12]!r} here: list the runs for their ids")
        return details[asked.run_id]()

    return {
        "factors/page": page,
        "factors/one": one,
        "factors/check": lambda _: check(),
        "factors/file": lambda asked: f"{asked.form} of {asked.run_id[:4]}".encode(),
    }


def many(count: int) -> Callable[[Any], FactorPage]:
    """A door of pages with ``count`` factors."""

    def page(asked: Any) -> FactorPage:
        numbers = range(count)[asked.offset :][: asked.limit]
        shown = tuple(card(f"{i:064x}", factor_id=f"factor-{i}") for i in numbers)
        return FactorPage(total=count, offset=asked.offset, cards=shown)

    return page
