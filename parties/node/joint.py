"""The joint model at the label party: one strategy per model kind, the same phases around it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

from parties.errors import ConfigError
from parties.node.context import RunContext
from psi.flow import Flow
from vfl.factors.panel import LabelPanel
from vfl.he import Context, KeyHolder
from vfl.layers.initial import initial_share
from vfl.layers.linear import SealedLinear
from vfl.layers.source import Kept, SealedSource
from vfl.layers.top import LabelHead
from vfl.plan import RidgeModel, SplitModel
from vfl.randomness import SecretStream
from vfl.ridge_walk import RidgeHead, ridge_steps, ridge_walk_forward
from vfl.ring import Ring
from vfl.schedule import Step, prequential
from vfl.train import Scorer, TrainingResult, walk_forward

__all__ = ["JointModel", "RidgeJoint", "SplitJoint", "joint_model"]


class JointModel(Protocol):
    """What the label party does in training, whatever the model. A new session starts with :meth:`train`."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The schedule."""

    @property
    def head(self) -> Scorer:
        """The label party's own part of a score."""

    @property
    def kept(self) -> Mapping[str, Kept]:
        """Its shares of each party's part of the opened predictions."""

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session."""


def _key(context: RunContext) -> KeyHolder:
    """A key of this session."""
    return KeyHolder(Context(context.agreement.parameter_set, context.agreement.fixed_point.ring_bits))


def _for_coalitions(context: RunContext) -> int:
    """Openings of a predicted row that valuation will need."""
    return context.agreement.needed_openings - 1 - context.agreement.model.epochs


class SplitJoint:
    """The split network over the sealed source layer."""

    def __init__(self, context: RunContext, terms: SplitModel, panel: LabelPanel) -> None:
        agreement = context.agreement
        if terms.outputs > 1:
            raise ConfigError("a factor is one score per row: model.loss softmax is for static data alone")
        self._context, self._terms, self._panel = context, terms, panel
        self.steps = tuple(
            prequential(
                terms,
                agreement.walk_forward,
                panel.known_from,
                panel.label,
                panel.universe,
                agreement.row_limit,
                _for_coalitions(context),
            )
        )
        self.head = LabelHead(terms, panel.features.values.shape[-1])
        self._source: SealedSource | None = None

    @property
    def kept(self) -> Mapping[str, Kept]:
        assert self._source is not None
        return self._source.kept

    def train(self) -> Flow[TrainingResult]:
        agreement, terms = self._context.agreement, self._terms
        ring = Ring(agreement.fixed_point.ring_bits)
        shares = {
            p.name: ring.wrap(
                initial_share(
                    self._context.secret(f"initial/{terms.seed}/{p.name}"),
                    (len(p.columns), terms.embedding_width),
                    agreement.fixed_point,
                    agreement.total_features,
                )
            )
            for p in agreement.features
        }
        self._source = SealedSource(
            shares,
            agreement.fixed_point,
            _key(self._context),
            SecretStream(os.urandom(32)),
            predictions=[step.number for step in self.steps if step.kind == "predict"],
            single_party=agreement.openings.single_party,
        )
        yield from self._source.start()
        result = yield from walk_forward(self._source, self.head, self.steps, self._panel)
        yield from self._source.finish()
        return result


class RidgeJoint:
    """Joint ridge from secure moments."""

    def __init__(self, context: RunContext, terms: RidgeModel, panel: LabelPanel) -> None:
        agreement = context.agreement
        own = panel.features.values.shape[-1]
        if own != len(agreement.party(context.me).columns):
            raise ConfigError("the label party's columns differ from the agreement's: propose it again")
        self._context, self._terms, self._panel = context, terms, panel
        self.steps = tuple(
            ridge_steps(
                terms,
                agreement.walk_forward,
                panel,
                agreement.total_features,
                agreement.row_limit,
                _for_coalitions(context),
            )
        )
        self.head = RidgeHead(own)
        self._source: SealedLinear | None = None

    @property
    def kept(self) -> Mapping[str, Kept]:
        assert self._source is not None
        return self._source.kept

    def train(self) -> Flow[TrainingResult]:
        agreement = self._context.agreement
        self._source = SealedLinear(
            {p.name: len(p.columns) for p in agreement.features},
            agreement.fixed_point,
            _key(self._context),
            single_party=agreement.openings.single_party,
        )
        yield from self._source.start()
        result = yield from ridge_walk_forward(self._source, self.head, self._terms.alpha, self.steps, self._panel)
        yield from self._source.finish()
        return result


def joint_model(context: RunContext, panel: LabelPanel) -> JointModel:
    """The agreement's model. Raises :class:`ConfigError` where the calendar or the openings do not suffice."""
    terms = context.agreement.model
    try:
        if isinstance(terms, RidgeModel):
            return RidgeJoint(context, terms, panel)
        return SplitJoint(context, terms, panel)
    except ValueError as error:
        raise ConfigError(str(error)) from None
