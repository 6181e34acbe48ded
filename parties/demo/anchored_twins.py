"""Twins of the models that are trained on shares, from the homes of a demo, and how far a run is from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.demo.parity import Parity, Part, ensemble_parity, found_parity, trees_parity, wrong_sums
from parties.errors import ConfigError, DataError, ParityError
from parties.node.context import node_secret
from parties.node.ensemble_label import chosen_average
from parties.node.home import NodeHome
from parties.node.sealed_serving import tied_purpose
from parties.node.tree_splits import opened_numbers
from parties.node.trees_label import candidates_purpose
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ensemble.average import averaged
from vfl.models.judging import Judge
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.tied import group_seed
from vfl.models.sealed.twin import SealedRangeError, float_twin, float_twin_scores, integer_twin
from vfl.models.trees.columns import tree_columns
from vfl.models.trees.linear_start import linear_model, linear_scores, own_start
from vfl.models.trees.twin import IntegerTwin, TreesRangeError, trees_twin
from vfl.terms import AnchoredModel, EnsembleModel, FederatedModel, ScreenModel, SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["AnchoredTwins"]

Floats = NDArray[np.float64]

_NO_SCORES = "a run of this kind makes no scores on shares to compare: a screen none, a federated model at home"


@dataclass(frozen=True)
class AnchoredTwins:
    """All parties' data in one place, which no real run ever has. ``panels`` are in agreed feature-party order.

    named: which of several models of a run this is about, such as a class's.
    """

    agreement: Agreement
    homes: Mapping[str, NodeHome]
    panels: Mapping[str, FeaturePanel]
    label: LabelPanel
    named: str = ""

    def parity(self, model: AnchoredModel, scores: Floats) -> Parity:
        """``scores`` (T, n) of the run beside those of the same run without encryption."""
        match model:
            case SealedModel():
                return self._network_parity(model, scores)
            case TreesModel():
                plain, same, twin = self._tree_twins(model)
                return trees_parity(
                    scores,
                    plain,
                    same,
                    beyond=twin.beyond,
                    others=len(twin.others),
                    levels=len(twin.chosen),
                    unit=2.0**-model.score_fraction,
                )
            case EnsembleModel():
                return self._ensemble_parity(model, scores)
            case ScreenModel() | FederatedModel():
                raise ConfigError(_NO_SCORES)

    @property
    def _deal(self) -> bool:
        """Whether trees' candidates deal rows of one value."""
        return self.agreement.static is None

    def _network_twins(self, model: SealedModel) -> tuple[Floats, Floats | None, str]:
        """Scores in floats, and as a run rounds; None and why where a run could not hold the numbers."""
        names = list(self.panels)
        panels, weight = list(self.panels.values()), self.weights(model, names)
        walk, fixed = self.agreement.walk_forward, self.agreement.fixed_point
        heads = self.heads(names)
        plain = float_twin(panels, self.label, model, walk, fixed, weight, heads)
        try:
            return plain, integer_twin(panels, self.label, model, walk, fixed, weight, heads), ""
        except SealedRangeError as error:
            return plain, None, str(error)

    def _network_parity(self, model: SealedModel, scores: Floats) -> Parity:
        plain, exact, overflow = self._network_twins(model)
        first = self.agreement.reported_from if self.agreement.search is not None else 0
        plain[:first] = np.nan
        if exact is None:
            return found_parity(scores, plain, None, overflow=overflow)
        exact[:first] = np.nan
        return found_parity(scores, plain, exact, unit=2.0**-model.score_fraction)

    def _ensemble_parity(self, model: EnsembleModel, scores: Floats) -> Parity:
        parts, rounded, weights = list[Part](), list[Floats](), model.averages[0]
        for part in model.members.values():
            unit = 2.0**-part.score_fraction
            if isinstance(part, TreesModel):
                plain, same, twin = self._tree_twins(part)
                parts.append(Part(plain, same, unit, wrong_sums(twin.beyond)))
            else:
                plain, exact, overflow = self._network_twins(part)
                same = plain if exact is None else exact
                parts.append(Part(plain, same, unit, f"overflow: {overflow}" if overflow else ""))
            rounded.append(same)
        if model.chosen_by_periods:
            judge = Judge(self.label, self.agreement.walk_forward, self.agreement.reported_from)
            weights = model.averages[chosen_average(model, judge, rounded).chosen]
        return ensemble_parity(scores, parts, weights)

    def _tree_twins(self, model: TreesModel) -> tuple[Floats, Floats, IntegerTwin]:
        """Scores of the twin that rounds to the nearest, and of the one on the numbers that opened; and this twin."""
        columns, seeds = self._tree_columns(list(self.panels))
        folder = self.homes[self.agreement.label.party].folder / "runs" / self.agreement.run_id
        numbers = opened_numbers(folder, self.named)

        def opened(step: int, level: int, sums: NDArray[np.int64]) -> NDArray[np.uint64]:
            found = numbers.get((step, level))
            if found is None or found.size != sums.size:
                raise DataError(f"{folder}: no record of what opened at level {level} of step {step}")
            return found.reshape(sums.shape)

        walk = self.agreement.walk_forward
        try:
            start = self._start(model, list(self.panels))
            plain = trees_twin(columns, self.label, model, walk, seeds, start=start, deal=self._deal)[0]
            return plain, *trees_twin(columns, self.label, model, walk, seeds, opened, start, deal=self._deal)
        except (SealedRangeError, TreesRangeError) as error:
            raise ParityError(f"scores of the run are wrong where they left their range: {error}") from None

    def _start(self, model: TreesModel, names: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Where boosting on these parties' columns and the label party's begins."""
        if model.init_score == "zero":
            return []
        columns, weight = [self.panels[name].rows for name in names], self.weights(linear_model(model), names)
        walk, fixed = self.agreement.walk_forward, self.agreement.fixed_point
        return linear_scores([*columns, self.label.features.rows], self.label, model, walk, fixed, weight)

    def of_coalition(self, model: AnchoredModel, members: Collection[str]) -> Floats:
        """Scores (T, n) of the twin on these feature parties' columns and the label party's, trained anew."""
        names, walk = [name for name in self.panels if name in members], self.agreement.walk_forward
        match model:
            case EnsembleModel():
                each = [self.of_coalition(part, members) for part in model.members.values()]
                return averaged(each, model.averages[0])
            case TreesModel():
                columns, seeds = self._tree_columns(names)
                if columns:
                    start = self._start(model, names)
                    return trees_twin(columns, self.label, model, walk, seeds, start=start, deal=self._deal)[0]
            case SealedModel():
                weight = self.weights(model, names)
                if len(weight):
                    panels = [self.panels[name] for name in names]
                    fixed, heads = self.agreement.fixed_point, self.heads(names)
                    return float_twin(panels, self.label, model, walk, fixed, weight, heads)
        return np.where(self.label.universe, 0.0, np.nan)

    def alone(self, model: AnchoredModel, name: str) -> Floats:
        """What one party's columns reach without anyone else's, float64 (T, n)."""
        walk, seed = self.agreement.walk_forward, self.homes[name].seed
        panel = self.label.features if name == self.agreement.label.party else self.panels[name]
        ours, theirs = node_secret(seed, "alone/ours"), node_secret(seed, "alone/theirs")
        match model:
            case EnsembleModel():
                return averaged([self.alone(part, name) for part in model.members.values()], model.averages[0])
            case TreesModel():
                start = own_start(panel.rows, self.label, model, walk, self.agreement.fixed_point, (ours, theirs))
                columns = {name: tree_columns(panel)}
                return trees_twin(columns, self.label, model, walk, {name: ours}, start=start, deal=self._deal)[0]
            case SealedModel():
                draws, fixed = (ours, theirs), self.agreement.fixed_point
                return float_twin_scores([panel.rows], self.label, model, walk, fixed, draws)
            case ScreenModel() | FederatedModel():
                raise ConfigError(_NO_SCORES)

    def _tree_columns(self, names: Sequence[str]) -> tuple[dict[str, Floats], dict[str, bytes]]:
        """By owner of candidates, these feature parties and the label party: columns, and what candidates come from."""
        label = self.agreement.label.party
        columns = {name: tree_columns(self.panels[name]) for name in names}
        if self.label.features.values.shape[-1]:
            columns[label] = tree_columns(self.label.features)
        purpose = candidates_purpose(self.agreement.initial_purpose, self.named)
        return columns, {name: node_secret(self.homes[name].seed, purpose) for name in columns}

    def heads(self, names: Sequence[str]) -> list[str]:
        """The owner of each party's weights: itself, or the first of a group that has one head."""
        members = sealed_members(self.agreement)
        return [members.head(name) for name in names]

    def weights(self, model: SealedModel, names: Sequence[str]) -> NDArray[np.int64]:
        """What these parties' columns started from, int64 (d, h + 1), both holders' draws added; a tied group's once,
        the label's last.
        """
        agreement, members = self.agreement, sealed_members(self.agreement)
        label, parts = agreement.label.party, []
        for name in (*dict.fromkeys(self.heads(names)), label):
            count = len(agreement.party(name).columns)
            seeds = self._seed(label, name), self._seed(model.anchor if name == label else name, name)
            parts.append(sum(sealed_draw(seed, count, model, members.columns) for seed in seeds))
        return np.concatenate(parts)

    def _seed(self, holder: str, owner: str) -> bytes:
        """What a holder's draw of the first weights on these columns is made from."""
        group = sealed_members(self.agreement).group(owner)
        if holder == self.agreement.label.party or len(group) == 1:
            return node_secret(self.homes[holder].seed, f"sealed/{self.agreement.initial_purpose}/{owner}")
        purposes = {name: tied_purpose(self.agreement, group, name) for name in group}
        return group_seed({name: node_secret(self.homes[name].seed, purpose) for name, purpose in purposes.items()})
