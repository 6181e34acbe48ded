"""A run's sessions of a sealed layer, from its agreement: what every end says alike, and the label party's end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from parties.agreement.document import Agreement
from vfl.arithmetic.he import Context, KeyHolder
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.protocols.resume import Resumed, WalkJournal
from vfl.terms import FixedPoint

__all__ = ["SessionTerms", "label_session", "session_terms"]


class SessionTerms(TypedDict):
    """The arguments of :class:`vfl.protocols.session.Session`."""

    me: str
    label_party: str
    parties: Mapping[str, int]
    fixed: FixedPoint
    parameter_set: str
    name: str
    single_party: bool
    numbers: OpenedNumbers


def session_terms(agreement: Agreement, me: str, name: str) -> SessionTerms:
    """What the run's agreement says of a session called ``name``, for ``me``."""
    return {
        "me": me,
        "label_party": agreement.label.party,
        "parties": {party.name: len(party.columns) for party in agreement.features},
        "fixed": agreement.fixed_point,
        "parameter_set": agreement.parameter_set,
        "name": name,
        "single_party": agreement.openings.single_party,
        "numbers": OpenedNumbers(agreement.openings.deviation),
    }


def label_session(
    agreement: Agreement, name: str, *, journal: WalkJournal | None = None, resumed: Resumed | None = None
) -> LabelSession:
    """The label party's end of a session, under a key of its own."""
    key = KeyHolder(Context(agreement.parameter_set, agreement.fixed_point.ring_bits))
    terms = session_terms(agreement, agreement.label.party, name)
    return LabelSession(**terms, key=key, journal=journal, resumed=resumed)
