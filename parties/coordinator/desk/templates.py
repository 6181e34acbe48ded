"""Terms to begin a new run with, made for the members as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from parties.calls.drafts import TemplateView
from parties.control.reports import IntroductionBody
from parties.names import COORDINATOR

__all__ = ["templates"]

_WEEKS = 156


def templates(offers: Mapping[str, IntroductionBody], consortium: str, today: date) -> list[TemplateView]:
    """The sealed network as in the demo, sealed trees, both, a split network and a joint ridge; over three years.

    ``offers`` are those of the members that have said what they bring. With too few of them the terms still come, and
    the draft says what is missing.
    """
    labels = [name for name, said in offers.items() if said.role == "label"]
    features = [name for name, said in offers.items() if said.role == "feature"]
    columns = sum(len(offers[name].columns) for name in features)
    width, limit, contribution = _plan(columns, len(features))
    shared = _shared(consortium, labels[:1], features, today)
    alone = {"single_party": len(features) == 1}
    split = {
        "model": {"kind": "split", "embedding_width": width},
        "openings": {"limit_per_row": limit, "largest_fraction": 0.6, "contribution": contribution, **alone},
    }
    ridge = {
        "model": {"kind": "ridge", "alpha": 300.0},
        "openings": {"limit_per_row": 2, "largest_fraction": 0.6, "contribution": "none", **alone},
    }
    sealed = {"model": {"kind": "sealed"}, "openings": {"limit_per_row": 4, "contribution": "moments"}}
    trees = {
        "model": {"kind": "trees", "refit_every": 13},
        "openings": {"limit_per_row": 4, "contribution": "moments"},
    }
    ensemble = {
        "model": {"kind": "ensemble", "boosted": {"refit_every": 13}},
        "openings": {"limit_per_row": 4, "contribution": "none"},
    }
    return [
        TemplateView(
            key="sealed",
            title="Sealed network",
            words="As in the demo: learns products of all parties' columns on shares to the end, and opens nothing "
            "of a row but its score.",
            terms=shared | sealed,
        ),
        TemplateView(
            key="trees",
            title="Sealed trees",
            words="Boosted trees grown on shares and fitted anew each quarter: learn steps and products, take missing "
            "values, and open counts and sums of anonymous splits beside scores.",
            terms=shared | trees,
        ),
        TemplateView(
            key="ensemble",
            title="Network and trees",
            words="An ensemble of the two above, averaged at each period's ranks: steadier than either, and two scores "
            "of a row open. Parties are valued by runs of coalitions, or in a run of one of the two.",
            terms=shared | ensemble,
        ),
        TemplateView(
            key="split",
            title="Split network",
            words="A source layer across the parties and a small network at the label party, which reads opened sums "
            "within a budget; contributions from masked sums.",
            terms=shared | split,
        ),
        TemplateView(
            key="ridge",
            title="Joint ridge",
            words="A joint linear model from secure cross-moments: quick, and no row is opened but for its score.",
            terms=shared | ridge,
        ),
    ]


def _plan(columns: int, parties: int) -> tuple[int, int, str]:
    """Width, openings and the way of contribution of a split network over so many columns."""
    from parties.data.consortium_files import opening_plan

    if not columns or not parties:
        return 1, 4, "masked"
    try:
        return opening_plan(columns, parties)
    except ValueError:
        return 1, 1, "none"


def _shared(consortium: str, label: list[str], features: list[str], today: date) -> dict[str, Any]:
    """What all kinds begin with."""
    friday = today - timedelta(days=(today.weekday() - 4) % 7 or 7)
    return {
        "name": consortium or "Our consortium",
        "purpose": "",
        "parties": [*label, *features],
        "recipients": [*label, *features, COORDINATOR],
        "calendar": {
            "frequency": "W-FRI",
            "first": (friday - timedelta(weeks=_WEEKS - 1)).isoformat(),
            "last": friday.isoformat(),
            "decision_lag_days": 0,
        },
        "alignment": {"policy": "psi", "minimum_common": 30},
        "walk_forward": {"horizon": 1, "embargo": 0, "warmup": 4},
        "reward": {"unit": "USD", "scale": 2, "pot": 1_000_000},
    }
