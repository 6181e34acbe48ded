"""The form of a new run: its fields, and the way between them and terms. Nothing here draws.

Terms are nested tables as in a consortium.toml; the form's values are flat, by dotted path. What the form has no field
for is carried through as the template had it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

__all__ = [
    "FIELDS",
    "PRESETS",
    "SECTIONS",
    "Field",
    "Value",
    "fault_at",
    "preset",
    "section_of",
    "terms_from",
    "values_of",
]

Value = Any
Values = Mapping[str, Value]


def _always(_: Values) -> bool:
    return True


def _split(values: Values) -> bool:
    return values.get("model.kind") != "ridge"


def _ridge(values: Values) -> bool:
    return not _split(values)


@dataclass(frozen=True)
class Field:
    """One input. ``when`` says whether it applies; ``unset`` stands in for terms that do not name it."""

    path: str
    label: str
    kind: Literal["text", "whole", "number", "choice", "switch", "date", "money"]
    section: str
    help: str
    unset: Value = ""
    choices: Mapping[str, str] | None = None
    low: float | None = None
    high: float | None = None
    when: Callable[[Values], bool] = _always


SECTIONS: Mapping[str, str] = {
    "who": "1 Who",
    "time": "2 Time",
    "model": "3 Model",
    "openings": "4 Openings",
    "reward": "5 Reward",
}

_FREQUENCIES = {"D": "days", "W-FRI": "weeks, to Friday", "M": "months", "Q": "quarters"}
_KINDS = {"split": "split network", "ridge": "joint ridge"}
_TOPS = {"residual": "line and tanh layer", "mlp": "tanh layer (MLP)", "linear": "line"}
_LOSSES = {
    "regression": "squared error and IC", "mse": "squared error", "ic": "IC", "rank_ic": "rank IC",
    "logistic": "above its period's mean or not",
}  # fmt: skip
_CONTRIBUTIONS = {"masked": "from masked sums, in this run", "none": "none here: runs per coalition (retrain)"}

FIELDS: tuple[Field, ...] = (
    Field("name", "Consortium", "text", "who", "The name that every party reads on the agreement."),
    Field("purpose", "Purpose", "text", "who", "What the factor is for; every party signs this sentence."),
    Field("calendar.frequency", "Decisions every", "choice", "time", "How long one decision period is.", "W-FRI",
          _FREQUENCIES),
    Field("calendar.decision_lag_days", "Cutoff lag, days", "whole", "time",
          "Days after a period's end up to which data may be used.", 0, low=0),
    Field("calendar.first", "First period contains", "date", "time", "Decision periods begin with that of this day."),
    Field("calendar.last", "Last period contains", "date", "time", "Decision periods end with that of this day."),
    Field("alignment.policy", "Common rows by", "choice", "time",
          "Private alignment shows each party only the entities that all hold; a public list shows nothing.", "psi",
          {"psi": "private alignment (PSI)", "universe": "a public list"}),
    Field("alignment.minimum_common", "Fewest in common", "whole", "time",
          "With fewer common entities the run stops, before anyone learns which they are.", 30, low=1),
    Field("alignment.universe_sha256", "SHA-256 of the list", "text", "time",
          "Fingerprint of the public list of entities that every node holds.",
          when=lambda values: values.get("alignment.policy") == "universe"),
    Field("walk_forward.horizon", "Horizon, periods", "whole", "time", "Periods until a label is known.", 1, low=0),
    Field("walk_forward.embargo", "Embargo, periods", "whole", "time",
          "Extra periods held out after the horizon, so that neighbours in time cannot leak.", 0, low=0),
    Field("walk_forward.warmup", "Warm-up, periods", "whole", "time",
          "Periods with known labels before the first prediction.", 4, low=1),
    Field("model.kind", "Model", "choice", "model",
          "A split network learns products across parties; a ridge is linear, quick, and opens no row in training.",
          "split", _KINDS),
    Field("model.embedding_width", "Embedding width", "whole", "model",
          "How many numbers of a row are opened at once, as a sum over parties; each counts against the budget.", 3,
          low=1, high=64, when=_split),
    Field("model.top", "Top model", "choice", "model", "The network above the opened sums, at the label party.",
          "residual", _TOPS, when=_split),
    Field("model.loss", "Loss", "choice", "model", "What training makes small.", "regression", _LOSSES, when=_split),
    Field("model.epochs", "Passes", "whole", "model", "Passes over each period's rows; each is one opening of a row.",
          2, low=1, high=50, when=_split),
    Field("model.hidden", "Hidden units", "whole", "model", "Units of the top model's tanh layer.", 16, low=0,
          high=1024,
          when=lambda values: _split(values) and values.get("model.top") != "linear"),
    Field("model.members", "Members", "whole", "model", "Top models trained side by side; the score is their mean.", 4,
          low=1, high=64, when=_split),
    Field("model.batch_rows", "Rows a batch", "whole", "model", "Wider batches cost less a row.", 512, low=1, high=8192,
          when=_split),
    Field("model.seed", "Seed", "whole", "model", "The same inputs and seed give the same factor.", 0, low=0,
          when=_split),
    Field("model.alpha", "Penalty", "number", "model", "Ridge penalty, beside the sum of squared errors.", 300.0, low=0,
          when=_ridge),
    Field("openings.limit_per_row", "Openings of a row, at most", "whole", "openings",
          "How often one row's sum may be revealed; each feature party's node counts and enforces it.", 4, low=1),
    Field("openings.largest_fraction", "Share of a row's features", "number", "openings",
          "Linear forms that may be shown of a row, over all its features.", 0.6, low=0.0),
    Field("openings.contribution", "Contributions", "choice", "openings",
          "Masked: valued in this run, at one opening per coalition. Retrain: compared over runs of their own.",
          "masked", _CONTRIBUTIONS),
    Field("openings.attribution", "Attribution", "switch", "openings",
          "One number per feature party and period that explains the factor; it decides no pay.", False),
    Field("openings.single_party", "Consent of a single party", "switch", "openings",
          "With one feature party its own embedding is opened; it must agree to that.", False),
    Field("evaluation.metrics_to_coordinator", "Tell the coordinator losses and ICs", "switch", "openings",
          "Off: the numbers stay with the label party, and these pages cannot show them.", True),
    Field("reward.unit", "Currency", "text", "reward", "Unit of the pot, such as USD.", "USD"),
    Field("reward.scale", "Decimals", "whole", "reward", "Decimal digits of the unit.", 2, low=0, high=8),
    Field("reward.pot", "Pot", "money", "reward", "Split among the feature parties by what each contributed.", 0,
          low=0),
    Field("reward.risk_aversion", "Risk aversion", "number", "reward",
          "Standard errors taken off a contribution before it is paid.", 1.0, low=0),
    Field("reward.uplift_level", "Level of the uplift test", "number", "reward",
          "Nobody is paid unless joining is better than staying alone at this one-sided level; 1 tests nothing.", 0.05,
          low=0.0001, high=1.0),
)  # fmt: skip

PRESETS: Mapping[str, str] = {
    "quick": "Quick look",
    "standard": "Standard",
    "strict": "Strict",
}
_A_YEAR = {"D": 252, "W-FRI": 52, "M": 12, "Q": 4}


def preset(name: str, frequency: str) -> dict[str, int]:
    """Values of the walk-forward fields: how long to wait before the first prediction, and what to hold out."""
    year = _A_YEAR.get(frequency, 52)
    warmup, embargo = {"quick": (year // 12, 0), "standard": (year // 4, 0), "strict": (year, max(1, year // 26))}[name]
    return {"walk_forward.warmup": max(4, warmup), "walk_forward.embargo": embargo}


def values_of(terms: Mapping[str, Any]) -> dict[str, Value]:
    """What the fields show for these terms; money in whole units."""
    values = {field.path: _typed(field, _get(terms, field.path, field.unset)) for field in FIELDS}
    for path in ("calendar.first", "calendar.last"):
        values[path] = _day(values[path])
    values["reward.pot"] = float(Decimal(_whole(values["reward.pot"])).scaleb(-_whole(values["reward.scale"])))
    return values


def terms_from(base: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The terms that the form says, upon what ``base`` says of things that have no field."""
    terms = copy.deepcopy(dict(base))
    if values.get("model.kind") != terms.get("model", {}).get("kind", "split"):
        terms["model"] = {}  # terms of the other kind would be refused
    for field in FIELDS:
        if field.path in values and field.when(values):
            _set(terms, field.path, _said(field, values))
    if values.get("alignment.policy") != "universe":
        terms.get("alignment", {}).pop("universe_sha256", None)
    return terms


def _said(field: Field, values: Values) -> Value:
    value = values[field.path]
    if field.kind == "date":
        return value.isoformat() if isinstance(value, date) else value
    if field.kind == "money":
        # the number as it was typed, so that no binary fraction moves a minor unit
        return int(Decimal(str(value or 0)).scaleb(_whole(values.get("reward.scale", 2))).to_integral_value())
    return value.strip() if isinstance(value, str) else value


def fault_at(field: str, path: str) -> bool:
    """Whether a draft's fault at ``field`` is shown at the input ``path``: its own, or the first of its table."""
    if field == path:
        return True
    first = next((one.path for one in FIELDS if one.path.startswith(f"{field}.")), None)
    return bool(field) and first == path


def section_of(field: str) -> str:
    """The section where the fault at ``field`` can be mended, or ""."""
    if field in ("parties", "party", "recipients", "label", "coalition", "fees"):
        return "who"
    return next((one.section for one in FIELDS if fault_at(field, one.path)), "")


def _typed(field: Field, value: Value) -> Value:
    """As the field's input takes it; what it cannot take becomes the field's own."""
    if field.kind == "whole":
        return value if isinstance(value, int) else field.unset
    if field.kind == "number":
        return float(value) if isinstance(value, int | float) else float(field.unset)
    if field.kind == "switch":
        return bool(value)
    return str(value) if field.kind in ("text", "choice") else value


def _get(terms: Mapping[str, Any], path: str, unset: Value) -> Value:
    found: Any = terms
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return unset
        found = found[part]
    return found


def _set(terms: dict[str, Any], path: str, value: Value) -> None:
    *tables, last = path.split(".")
    for part in tables:
        terms = terms.setdefault(part, {})
    terms[last] = value


def _day(value: Value) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0
