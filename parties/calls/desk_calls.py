"""Everything that can be asked at the desk."""

from __future__ import annotations

from typing import Protocol

from parties.calls.comparing import ComparisonCalls
from parties.calls.contributions import ContributionCalls
from parties.calls.drafts import DraftCalls
from parties.calls.factors import FactorsCalls
from parties.calls.favourites import FavouriteCalls
from parties.calls.membership import MembershipCalls
from parties.calls.money import MoneyCalls
from parties.calls.overlaps import OverlapCalls
from parties.calls.people import PeopleCalls
from parties.calls.runs import RunCalls
from parties.calls.settlement import SettlementCalls
from parties.calls.state import StateCalls
from parties.calls.trust import TrustCalls

__all__ = ["DeskCalls"]


class DeskCalls(
    PeopleCalls,
    RunCalls,
    ComparisonCalls,
    DraftCalls,
    MoneyCalls,
    FactorsCalls,
    FavouriteCalls,
    ContributionCalls,
    SettlementCalls,
    MembershipCalls,
    OverlapCalls,
    StateCalls,
    TrustCalls,
    Protocol,
):
    """Every call, one class per subject."""
