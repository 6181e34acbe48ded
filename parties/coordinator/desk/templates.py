"""Terms to begin a new run with, made for the members as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from parties.calls.drafts import TemplateView
from parties.control.reports import IntroductionBody
from parties.names import COORDINATOR
from parties.proposing.offered_groups import offered_groups

__all__ = ["Before", "templates"]

_WEEKS = 156
_ENTITIES = 500
_GUESSED = " No run has settled yet, so its dates are a guess: set those that all members' data cover."


@dataclass(frozen=True)
class Before:
    """What the latest settled run says of data that are there: its calendar as terms have it, and how many entities."""

    run_id: str
    calendar: Mapping[str, Any]
    common: int | None


def templates(
    offers: Mapping[str, IntroductionBody], consortium: str, today: date, before: Before | None = None
) -> list[TemplateView]:
    """The sealed network as in the demo, sealed trees, both, a split network, a joint ridge, a screen of formulas.

    Over the periods of the run ``before``, which its members' data cover; without one over three years, and said so.

    ``offers`` are those of the members that have said what they bring. With too few of them the terms still come, and
    the draft says what is missing.
    """
    labels = [name for name, said in offers.items() if said.role == "label"]
    features = [name for name, said in offers.items() if said.role == "feature"]
    columns = sum(len(offers[name].columns) for name in features)
    width, limit, contribution = _plan(columns, len(features))
    shared = _shared(consortium, labels[:1], features, today)
    note, about = _GUESSED, _ENTITIES
    if before is not None:
        shared["calendar"] = dict(before.calendar)
        note, about = f" Dates are those of run {before.run_id[:12]}, which settled.", before.common or _ENTITIES
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
    screen = {
        "model": {"kind": "screen"},
        "openings": {"limit_per_row": 4},
        "walk_forward": {"horizon": 1, "embargo": 0},
        "recipients": [],
        "reward": {},
    }
    kinds: dict[str, dict[str, Any]] = {
        "sealed": sealed,
        "trees": trees,
        "ensemble": ensemble,
        "split": split,
        "ridge": ridge,
        "screen": screen,
    }
    for kind in kinds.keys() - {"screen"}:
        kinds[kind] = _grouped(shared | kinds[kind], offers)
    return [
        one.model_copy(update={"words": one.words + note, "entities": about, "terms": shared | kinds[one.key]})
        for one in _KINDS
    ]


def _grouped(terms: dict[str, Any], offers: Mapping[str, IntroductionBody]) -> dict[str, Any]:
    """The terms with the groups that train members' encoders, without which these members' nodes sign nothing."""
    groups = offered_groups(offers)
    if not groups:
        return terms
    made = [group[part] for group in groups for part in ("encoder", "expand") if part in group]
    fitted = max(shape["fit_periods"] for shape in made)
    walk = {**terms["walk_forward"], "warmup": max(terms["walk_forward"]["warmup"], fitted)}
    openings = dict(terms["openings"])
    if openings["contribution"] == "masked":
        openings["contribution"] = "none"  # a coalition's sums would tell who serves an entity
    return terms | {
        "group": groups,
        "alignment": {**terms["alignment"], "policy": "union"},
        "walk_forward": walk,
        "openings": openings,
    }


_KINDS = (
    TemplateView(
        key="sealed",
        title="Sealed network",
        words="As in the demo: learns products of all parties' columns on shares to the end, and opens nothing "
        "of a row but its score.",
    ),
    TemplateView(
        key="trees",
        title="Sealed trees",
        words="Boosted trees grown on shares and fitted anew each quarter: learn steps and products, take missing "
        "values, and open counts and sums of anonymous splits beside scores.",
    ),
    TemplateView(
        key="ensemble",
        title="Network and trees",
        words="An ensemble of the two before it, averaged at each period's ranks: steadier than either, and two scores "
        "of a row open. Parties are valued by runs of coalitions, or in a run of one of the two.",
    ),
    TemplateView(
        key="split",
        title="Split network",
        words="A source layer across the parties and a small network at the label party, which reads opened sums "
        "within a budget; contributions from masked sums.",
    ),
    TemplateView(
        key="ridge",
        title="Joint ridge",
        words="A joint linear model from secure cross-moments: quick, and no row is opened but for its score.",
    ),
    TemplateView(
        key="screen",
        title="Screen of formulas",
        words="Tries every party's columns, and every product of two parties' columns, against the label, and names "
        "those that stand all hurdles. No row opens; it makes no factor and pays nothing.",
    ),
)


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
