"""What one head is worth to a group of members with the same columns, beside a head of each one's own.

The panel and the terms are those of examples/group_encoder/tied.toml; nothing is tuned. The encoder is trained by plain
averaging and the network by its float twin, so no key is made: a run comes out the same but for rounding. Run:
python -m benchmarks.tied_heads [--accounts 20] [--starts 4]
"""

from __future__ import annotations

import argparse
import hashlib
import runpy
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.entities import party_entities
from parties.data.group_encoder import encoder_learner
from parties.data.joint_fit import JointFit
from parties.data.panel import build_feature_panel, build_label_panel, raw_panel
from parties.data.sources import party_sources
from parties.settings.consortium import load_consortium
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel
from vfl.federated.rounds import Rounds
from vfl.federated.twin import in_plain
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.twin import float_twin
from vfl.terms import SealedModel

F64 = NDArray[np.float64]
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "group_encoder"


class Lenders:
    """All parties' data in one place: a panel of ``accounts`` a lender, and the group's encoder trained on it."""

    def __init__(self, data: Path, accounts: int) -> None:
        runpy.run_path(str(EXAMPLE / "panel.py"))["write"](data, accounts, 60, 0)
        self.settings, self.data = load_consortium(EXAMPLE / "tied.toml"), data
        assert self.settings.calendar is not None
        self.group = self.settings.group[0].agreed_for(len(self.settings.group[0].members))
        self.fund, self.calendar = self.settings.party[0], calendar_of(calendar_terms(self.settings.calendar))
        self.names = party_entities(self.fund, EXAMPLE, data, self.settings.label)
        assert self.settings.label is not None
        self.label = build_label_panel(self.fund, self.settings.label, EXAMPLE, data, self.calendar, self.names)
        self.encoder = self._trained()

    def _trained(self) -> F64:
        group, learners = self.group, {}
        for party in self.settings.party:
            if party.name in group.members:
                raw = raw_panel(party, party_sources(party, EXAMPLE, self.data), self.calendar, self.names).values
                learners[party.name] = encoder_learner(
                    raw, group.encoder, group, party.own_columns, 1, winsorise=party.winsorise, who=party.name
                )
        first = learners[group.members[0]]
        rounds = Rounds(group, group.members, "coordinator", "5a" * 32, len(first.weights))
        return in_plain(rounds, learners, first.weights)

    def panels(self, *, whiten: bool) -> tuple[list[FeaturePanel], list[str]]:
        """Every feature party's columns, and whose they are."""
        made, names = [], []
        for party in self.settings.party[1:]:
            member = party.name in self.group.members
            asked = party.model_copy(update={"whiten": whiten or not member})
            joint = JointFit(self.encoder) if member else None
            made.append(build_feature_panel(asked, EXAMPLE, self.data, self.calendar, self.names, joint))
            names.append(party.name)
        return made, names

    def rank_ic(self, start: int, panels: Sequence[FeaturePanel], heads: Sequence[str]) -> float:
        """Of the reported months, under the weights that this start gives."""
        model = self.settings.model
        assert isinstance(model, SealedModel)
        counts = {head: len(panel.columns) for head, panel in zip(heads, panels, strict=True)}
        counts["fund"] = len(self.fund.output_columns)
        total, parts = sum(counts.values()), []
        for owner, count in counts.items():
            seeds = (hashlib.sha256(f"{start}/{holder}/{owner}".encode()).digest() for holder in ("fund", "other"))
            parts.append(sum(sealed_draw(seed, count, model, total) for seed in seeds))
        weight, walk = np.concatenate(parts), self.settings.walk_forward
        scores = float_twin(panels, self.label, model, walk, self.settings.fixed_point, weight, heads)
        return float(np.nanmean(ic_by_period(scores, self.label.label, "rank")[32:]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--accounts", type=int, default=20, help="of each lender")
    asked.add_argument("--starts", type=int, default=4)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lenders = Lenders(Path(folder), given.accounts)
        for said, whiten, tied in (
            ("own heads, whitened", True, False),
            ("own heads, not whitened", False, False),
            ("one head", False, True),
        ):
            panels, names = lenders.panels(whiten=whiten)
            heads = [lenders.group.members[0] if tied and name in lenders.group.members else name for name in names]
            found = [lenders.rank_ic(start, panels, heads) for start in range(given.starts)]
            print(f"{said}: {np.mean(found):+.3f} ({min(found):+.3f} to {max(found):+.3f})", flush=True)


if __name__ == "__main__":
    main()
