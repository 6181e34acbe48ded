"""Terms of a screen of formulas: who takes part and as what, and what other kinds of run have and it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfl.arithmetic.parameter_sets import COEFFICIENT_SET
from vfl.models.screen.messages import ScreenMembers
from vfl.screen_terms import FEWEST_PERIODS, ScreenModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["check_screen", "holders_of", "screen_members"]

_MOST_PARTIES = 8


def screen_members(agreement: Agreement, entities: int) -> ScreenMembers:
    """Who takes part, and as what."""
    assert isinstance(agreement.model, ScreenModel)
    return ScreenMembers(
        label=agreement.label.party,
        features=tuple(party.name for party in agreement.features),
        periods=len(agreement.periods),
        entities=entities,
        terminals=agreement.model.terminals,
        own=bool(agreement.party(agreement.label.party).columns),
    )


def holders_of(agreement: Agreement, party: str) -> tuple[str, ...]:
    """Who holds the other half of the shares of this feature party's terminals, beside the label party."""
    names = [one.name for one in agreement.features]
    return tuple(names[names.index(party) + 1 :]) if party in names else ()


def check_screen(agreement: Agreement) -> None:
    """Raise ValueError for what contradicts, or does not exist for, a screen."""
    openings, walk = agreement.openings, agreement.walk_forward
    if not 1 <= len(agreement.features) <= _MOST_PARTIES:
        raise ValueError(f"a screen takes 1 to {_MOST_PARTIES} feature parties: name fewer")
    if agreement.calendar is None:
        raise ValueError("a screen counts periods, and static data has none: name a [calendar]")
    missing = {
        "search": agreement.search,
        "placebo": agreement.placebo,
        "fees": agreement.fees,
        "reward.pot": agreement.reward.pot or None,
        "readers": agreement.readers or None,
        "walk_forward.horizons": walk.horizons or None,
        "openings.attribution": openings.attribution or None,
    }
    for what, terms in missing.items():
        if terms is not None:
            raise ValueError(f"a screen trains nothing and makes no factor: leave out {what}")
    if openings.contribution != "none":
        raise ValueError('a screen values no coalitions: set openings.contribution = "none"')
    if agreement.parameter_set != COEFFICIENT_SET:
        raise ValueError(f"a screen computes under parameter_set = {COEFFICIENT_SET!r}: leave the term out")
    if len(agreement.features) > 1 and agreement.kin:
        raise ValueError(
            f"{', '.join(sorted(agreement.kin))} belongs to the label party's legal entity, and a feature party holds "
            "shares of others' terminals beside the label party: leave it out of a screen of several parties"
        )
    halves = (len(agreement.periods) - 2 * walk.horizon - walk.embargo) // 2
    if halves < FEWEST_PERIODS:
        raise ValueError(
            f"a screen chooses on one half of the periods and confirms on the other, and {len(agreement.periods)} "
            f"periods leave fewer than {FEWEST_PERIODS} with labels to each: take a longer calendar"
        )
