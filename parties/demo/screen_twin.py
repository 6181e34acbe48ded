"""What only a demo can know of a screen: the same sums in plain numbers, and in words what every formula is.

It reads the homes below the demo's folder and writes ``twin.json`` there, in a process of its own.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parties.agreement.document import Agreement
from parties.data.agreed_rows import rows_of
from parties.data.calendar import calendar_of
from parties.data.terminals import Terminals, read_terminals
from parties.errors import DataError
from parties.node.context import node_secret
from parties.node.home import NodeHome
from parties.node.screen_label import screen_labels
from parties.node.screen_report import TABLE
from vfl.arithmetic.randomness import SecretStream
from vfl.models.screen.feature import secret_order
from vfl.models.screen.formulas import Formula, trials_of
from vfl.models.screen.judge import Judged, judged
from vfl.models.screen.twin import screened_in_the_clear
from vfl.terms import ScreenModel

__all__ = ["compare_screen"]

_SHOWN = 10

_FAR = 0.05
"""Difference of a t from which the run is said to differ from the plain sums."""


@dataclass(frozen=True)
class _Owned:
    """A party's terminals as a screen numbers them. names: in words, with a minus where the sign was turned."""

    names: tuple[str, ...]
    made: Terminals


def compare_screen(out: Path, folder: Path, *, parity: bool) -> dict[str, Any]:
    """The record that goes into twin.json. ``folder``: the label party's report.

    named, leading: named formulas, and those of the largest t on the first half, in words. furthest: largest difference
    of a t to the same sums in plain numbers, over formulas of which no number was left out. cause: why the run is not
    as it should be, "" where it is.
    """
    agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
    homes = {party.name: NodeHome(out / "parties" / party.name) for party in agreement.parties}
    entities = _entities(agreement, homes)
    label = agreement.label.party
    owned = {name: _owned(agreement, home, entities, turned=name != label) for name, home in homes.items()}
    rows = _rows(folder / TABLE)
    record: dict[str, Any] = {
        "formulas": len(rows),
        "named": [_words(row, owned) for row in _by_t(rows) if row["named"] == "True"],
        "leading": [_words(row, owned) for row in _by_t(rows)[:_SHOWN]],
        "furthest": None,
        "cause": "",
    }
    return record | (_difference(_judged(agreement, homes[label], entities, owned), rows) if parity else {})


def _entities(agreement: Agreement, homes: Mapping[str, NodeHome]) -> tuple[str, ...]:
    """The run's rows, in their order."""
    rows = rows_of(agreement)
    brought = {
        name: set(rows.entities(home.settings.party, _queries(home), _data(home), home.settings.label))
        for name, home in homes.items()
    }
    if agreement.alignment.hides_coverage:
        return tuple(sorted(brought[agreement.label.party]))
    return tuple(sorted(set.intersection(*brought.values())))


def _judged(agreement: Agreement, held: NodeHome, entities: tuple[str, ...], owned: Mapping[str, _Owned]) -> Judged:
    """The screen in plain numbers. held: the label party's home."""
    terms, walk, label = agreement.model, agreement.walk_forward, agreement.label.party
    assert isinstance(terms, ScreenModel)
    assert held.settings.label is not None
    panel = rows_of(agreement).labels(held.settings.party, held.settings.label, _queries(held), _data(held), entities)
    labels = screen_labels(agreement, panel)
    features = {party.name: owned[party.name].made.ranks for party in agreement.features}
    sums = screened_in_the_clear(labels, features, owned[label].made.ranks)
    return judged(trials_of(sums, label, labels), terms, horizon=walk.horizon, embargo=walk.embargo)


def _owned(agreement: Agreement, home: NodeHome, entities: tuple[str, ...], *, turned: bool) -> _Owned:
    party, terms = home.settings.party, agreement.model
    assert isinstance(terms, ScreenModel)
    if not party.own_columns:
        none = np.zeros((len(agreement.periods), len(entities), 0), dtype=np.int64)
        return _Owned((), Terminals((), none, 0))
    calendar = calendar_of(agreement.dated)
    made = read_terminals(party, _queries(home), _data(home), calendar, entities, terms.terminals)
    if not turned:
        return _Owned(made.names, made)
    secret = SecretStream(node_secret(home.seed, f"screen/{agreement.run_id}"))
    order, signs = secret_order(secret, len(made.names))
    names = tuple(
        made.names[one] if sign > 0 else f"minus ({made.names[one]})" for one, sign in zip(order, signs, strict=True)
    )
    return _Owned(names, Terminals(names, made.ranks[:, :, order] * signs, made.left_out))


def _difference(found: Judged, rows: list[dict[str, str]]) -> dict[str, Any]:
    """How far the run's t are from those in plain numbers."""
    plain = {formula: place for place, formula in enumerate(found.trials.formulas)}
    worst, whole = 0.0, 0
    if len(plain) != len(rows):
        raise DataError(f"the run tried {len(rows)} formulas and its twin {len(plain)}: their terminals differ")
    for row in rows:
        place = plain[_formula(row)]
        for tests, half in ((found.first, "first"), (found.second, "second")):
            if int(row[f"periods_{half}"]) == int(tests.count[place]) and row[f"t_{half}"]:
                worst, whole = max(worst, abs(float(row[f"t_{half}"]) - float(tests.t[place]))), whole + 1
    other = {str(_formula(row)) for row in rows if row["named"] == "True"} ^ {
        str(found.formula(place)) for place in found.winners
    }
    cause = ""
    if worst > _FAR or not whole:
        cause = f"a t differs by {worst:.2g}, so sums that opened are not those of the data"
    elif other:
        cause = f"{', '.join(sorted(other))} would be named in one of the two and not in the other, by what was rounded"
    return {"furthest": worst, "cause": cause}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _by_t(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: -abs(float(row["t_first"] or 0.0)))


def _formula(row: Mapping[str, str]) -> Formula:
    return Formula(row["party"], int(row["number"]), row["other"], int(row["other_number"]))


def _words(row: Mapping[str, str], owned: Mapping[str, _Owned]) -> dict[str, Any]:
    formula = _formula(row)
    parts = [f"{formula.party}: {owned[formula.party].names[formula.number]}"]
    if formula.other:
        parts.append(f"{formula.other}: {owned[formula.other].names[formula.other_number]}")
    numbers = {name: float(row[name]) if row[name] else None for name in ("mean_first", "t_first", "p_bhy", "t_second")}
    return {"formula": " x ".join(parts), "named": row["named"] == "True", **numbers}


def _queries(home: NodeHome) -> Path:
    return home.folder / home.settings.queries


def _data(home: NodeHome) -> Path:
    return home.folder / home.settings.data
