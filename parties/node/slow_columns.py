"""What scores tell of columns that change slowly: each period opens another score of nearly the same row."""

from __future__ import annotations

from collections.abc import Iterator

from parties.agreement.document import Agreement
from vfl.factors.panel import FeaturePanel
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import AnchoredModel, FederatedModel, ScreenModel

__all__ = ["slow_lines"]


def slow_lines(agreement: Agreement, panel: FeaturePanel | None, columns: int) -> Iterator[str]:
    """For a feature party that signs a run of which scores alone open: how they compare with what its rows hold.

    A label party that cheats may ask for another direction in each period (docs/protocols/sealed.md#who-cheats), so
    what matters is not what a row holds but what is new in it. What coalitions' numbers tell of such columns an honest
    one has too (docs/protocols/sealed.md#coalition-values). columns: the party's own.
    """
    model = agreement.model
    if panel is None or agreement.static is not None or not isinstance(model, AnchoredModel):
        return
    if isinstance(model, ScreenModel | FederatedModel) or not panel.row_bits:
        return
    told = agreement.opened_scores * SCORE_BITS
    share = min(1.0, told / panel.row_bits)
    yield (
        f"This party's {columns} columns hold {panel.row_bits:.0f} bits of a row beside the entity's row before, and "
        f"{told} bits of a predicted row open. A label party that cheats, and asks another thing in each period, reads "
        f"up to {share:.0%} of what is new in a row; a column that keeps its value it reads whole, in time."
    )
    if agreement.openings.contribution == "moments":
        periods, entities = panel.values.shape[:2]
        yield (
            f"For contribution up to {periods} covariances of scores with this party's columns alone open, of "
            f"{entities} entities: as far as its columns keep their values these are equations of the same {entities} "
            "scores, which an honest label party solves, the better the more periods there are beside entities."
        )
