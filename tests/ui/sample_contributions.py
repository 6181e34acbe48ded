"""The sample's answers about contributions: a few runs of two consortia, one with a name that tries to be markup."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.client import BandPoint, ContributionDetail, ContributionPage, PartyShare, RunShares
from parties.errors import ConfigError

__all__ = ["doors", "shares"]

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x^2$ [link](http://x)"
_VALUES = {"orbit": (0.031, 0.55), "chatter": (0.019, 0.36), "till": (0.005, 0.09)}
_ERROR = 0.005
_AT = datetime(2026, 6, 1, 8, tzinfo=UTC)


def shares(number: int = 0, **changes: Any) -> RunShares:
    """The ``number``-th run, a month after the one before it."""
    values = {
        name: (phi + 0.004 * math.sin(number + i), share) for i, (name, (phi, share)) in enumerate(_VALUES.items())
    }
    parties = tuple(
        PartyShare(
            party=name, phi=phi, standard_error=_ERROR, t=phi / _ERROR, low=phi - 1.96 * _ERROR,
            high=phi + 1.96 * _ERROR, leave_one_out=0.9 * phi, standalone=1.4 * phi, plain=1.8 * phi,
            plain_standard_error=0.006, attribution=0.4 * phi, share=share, reward=round(250_000 * share),
        )
        for name, (phi, share) in values.items()
    )  # fmt: skip
    told: dict[str, Any] = {
        "run_id": f"{number + 1:02x}" * 32, "consortium": "Harbour consortium", "purpose": "Weekly factor, large caps",
        "label_party": "harbor", "at": _AT + timedelta(days=30 * number), "method": "masked", "n_periods": 96,
        "v_everyone": 0.055 + sum(one.phi for one in parties), "v_nobody": 0.055, "pot": 250_000, "unit": "USD",
        "scale": 2, "parties": parties,
    }  # fmt: skip
    return RunShares.model_validate(told | changes)


def doors(count: int = 6) -> dict[str, Callable[[Any], Any]]:
    """The doors about contributions over ``count`` runs, the newest first; the oldest has a hostile consortium."""
    runs = [shares(i, **({"consortium": HOSTILE, "purpose": HOSTILE} if i == 0 else {})) for i in range(count)][::-1]

    def matching(asked: Any) -> list[RunShares]:
        return [
            run for run in runs
            if (not asked.party or asked.party in {one.party for one in run.parties})
            and asked.consortium in ("", run.consortium)
            and (asked.since is None or run.at >= asked.since) and (asked.until is None or run.at < asked.until)
        ]  # fmt: skip

    def page(asked: Any) -> ContributionPage:
        found = matching(asked)
        return ContributionPage(
            total=len(found), offset=asked.offset, runs=tuple(found[asked.offset :][: asked.limit]),
            parties=tuple(sorted(_VALUES)), consortia=tuple(sorted({run.consortium for run in runs})),
        )  # fmt: skip

    def one(asked: Any) -> ContributionDetail:
        run = next((run for run in runs if run.run_id == asked.run_id), None)
        if run is None:
            raise ConfigError(f"there is no run {asked.run_id[:12]!r} here: list the runs for their ids")
        over_time = {
            name: tuple(
                BandPoint(period=f"2024-W{i:02d}", mean=phi, low=phi - 0.1 / i, high=phi + 0.1 / i)
                for i in range(4, 53)
            )
            for name, phi in ((one.party, one.phi) for one in run.parties)
        }
        told = "Exact Shapley value of the per-period IC over coalitions of the feature parties."
        return ContributionDetail(
            shares=run, definition=told, plain_definition=f"{told} {HOSTILE}", attribution_definition="It explains.",
            over_time=over_time,
        )  # fmt: skip

    def export(asked: Any) -> bytes:
        return "\r\n".join(["run_id", *(run.run_id for run in matching(asked))]).encode()

    return {"contributions/page": page, "contributions/one": one, "contributions/export": export}
