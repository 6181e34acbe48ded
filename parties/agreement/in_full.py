"""An agreement for people: what it comes to in sentences, then every term with its value and what it means.

The terms are walked as the agreement's own models declare them, so none can be forgotten; what the sentences say is a
reading aid, and the canonical document is what was signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from parties.agreement.document import Agreement
from parties.names import COORDINATOR

__all__ = ["Term", "sentences", "terms_in_full"]

_LONGEST_LIST = 24
_LONGEST_TEXT = 400


@dataclass(frozen=True, slots=True)
class Term:
    """One term: where it stands, its value in words, and what it means ("" where its name says it)."""

    section: str
    name: str
    value: str
    meaning: str = ""


def sentences(agreement: Agreement) -> tuple[str, ...]:
    """What is agreed, in a few sentences. Names and purposes are the parties' own words."""
    return tuple(_sentences(agreement))


def _sentences(agreement: Agreement) -> Iterator[str]:
    names = ", ".join(party.name for party in agreement.features)
    label, calendar = agreement.label, agreement.calendar
    what = label.definition or label.name
    yield f"{label.party} brings the label ({what}); {names} bring {agreement.total_features} feature columns in all."
    span = f"{calendar.periods[0]} to {calendar.periods[-1]}"
    yield f"It covers {len(calendar.periods)} periods, {span} ({calendar.frequency})."
    if agreement.alignment.policy == "psi":
        least = agreement.alignment.minimum_common
        yield f"Common entities are found privately; below {least} of them the run stops and nothing is shown."
    else:
        yield "The entities come from one public list, whose fingerprint is agreed."
    fraction, width = agreement.openings.largest_fraction, agreement.model.embedding_width
    yield (
        f"A row's opened sum has {width} numbers and is opened {agreement.row_limit} times at most; no more linear "
        f"forms of a row than {fraction:.0%} of its features are ever revealed."
    )
    how = {"masked": "by leaving parties out of opened sums", "none": "not at all in this run"}
    told = f"Contributions are valued {how[agreement.openings.contribution]}"
    yield f"{told}; sealed attribution is {'computed too' if agreement.openings.attribution else 'not computed'}."
    if agreement.evaluation.metrics_to_coordinator:
        yield "The coordinator is told how good the factor is."
    else:
        yield "How good the factor is stays with the label party."
    others = (name for name in (*agreement.recipients, *agreement.readers) if name != label.party)
    takers = ", ".join(others) or "nobody else"
    held = " The coordinator holds a copy." if COORDINATOR in agreement.recipients else ""
    yield f"The factor goes to {label.party} and {takers}.{held}"
    reward = agreement.reward
    pot = f"{reward.pot / 10**reward.scale:,.{reward.scale}f} {reward.unit}"
    yield f"A pot of {pot} is shared by contribution." if reward.pot else "No money is shared."
    yield f"It may be carried out until {_plain(agreement.expires_at)}, with code version {agreement.code_version}."


def terms_in_full(agreement: Agreement) -> tuple[Term, ...]:
    """Every term, by section. Lists that are long are counted and cut off; the canonical document has them whole."""
    return tuple(_terms(agreement, "run"))


def _terms(model: BaseModel, section: str) -> Iterator[Term]:
    later: list[tuple[str, BaseModel]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            later.append((_join(section, name), value))
        elif isinstance(value, tuple) and value and all(isinstance(one, BaseModel) for one in value):
            later += [(_join(section, f"{name} {getattr(one, 'name', i + 1)}"), one) for i, one in enumerate(value)]
        else:
            yield Term(section, name.replace("_", " "), _plain(value), field.description or "")
    for where, inner in later:
        yield from _terms(inner, where)


def _join(section: str, name: str) -> str:
    words = name.replace("_", " ", 1) if not name.startswith("parties ") else name.replace("parties ", "party ", 1)
    return words if section == "run" else f"{section}, {words}"


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value.utcoffset() is not None else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, tuple | list):
        shown = ", ".join(_plain(inner) for inner in value[:_LONGEST_LIST]) or "none"
        return shown if len(value) <= _LONGEST_LIST else f"{len(value)}: {shown}, ..."
    text = str(value)
    if not text:
        return "none"
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 3] + "..."
