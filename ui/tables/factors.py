"""Tables about factors: data in, pandas frame out, ready to show."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from parties.client import FactorCard, LiveView
from ui.wording import correlation, instant, short_id, t_value

__all__ = ["factors_table", "live_table", "versions_table"]


def factors_table(cards: Sequence[FactorCard]) -> pd.DataFrame:
    """One row per factor, in the order given; numbers stay numbers, so that a column can be sorted."""
    rows = [
        (
            card.factor_id,
            card.version,
            card.purpose,
            card.ic_joint,
            card.t_joint,
            card.uplift,
            card.n_periods,
            card.created_at,
            "here" if card.available else "at the recipients",
            ", ".join(card.warnings),
        )
        for card in cards
    ]
    columns = ["Factor", "Version", "Purpose", "Rank IC", "t", "Uplift", "Periods", "Made", "Files", "Warnings"]
    return pd.DataFrame(rows, columns=columns)


def versions_table(cards: Sequence[FactorCard], here: str) -> pd.DataFrame:
    """One row per version of a factor, in the order given; the one of the run ``here`` is marked."""
    rows = [
        (
            "this page" if card.run_id == here else "",
            card.version,
            instant(card.created_at),
            short_id(card.run_id),
            correlation(card.ic_joint),
            t_value(card.t_joint),
            correlation(card.uplift),
            "yes" if card.available else "no",
        )
        for card in cards
    ]
    columns = ["", "Version", "Made", "Run", "Rank IC", "t", "Uplift", "Files here"]
    return pd.DataFrame(rows, columns=columns)


def live_table(live: Sequence[LiveView]) -> pd.DataFrame:
    """One row per attested record, newest first: live rank IC of all together, of the label party alone, and shares."""
    rows = [
        (
            f"{view.periods[0]} to {view.periods[-1]}" if len(view.periods) > 1 else view.periods[0],
            len(view.periods),
            correlation(view.v_everyone),
            correlation(view.v_nobody),
            ", ".join(f"{party} {correlation(phi)}" for party, phi in sorted(view.phi.items())),
            instant(view.made_at),
        )
        for view in live
    ]
    columns = ["Live periods", "Periods", "Rank IC, joint", "Rank IC, label party alone", "Shapley values", "Attested"]
    return pd.DataFrame(rows, columns=columns)
