"""Phase encode: a member learns what it serves where its group agreed on an order, trains the group's encoder with the
others, on its own rows, fits the group's expansion with them, and keeps what came of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from parties.agreement.group_terms import GroupTerms, expansion_plan, group_of, group_rounds
from parties.data.calendar import calendar_of
from parties.data.group_encoder import EncoderLearner, encoder_learner
from parties.data.group_expansion import expansion_rows
from parties.data.panel import raw_panel
from parties.data.sources import party_sources
from parties.errors import AgreementError
from parties.node.context import RunContext
from parties.node.group_encoder import keep_encoder, keep_expansion, kept_encoder, kept_expansion
from parties.node.group_order import in_order
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.expansion import join_expansion
from vfl.federated.group import JointEncoder, encoder_seed, join_group

__all__ = ["train_encoder"]

F64 = NDArray[np.float64]


def train_encoder(context: RunContext, entities: Sequence[str], attempt: int) -> dict[str, int]:
    """This node's part in its group's rounds; how many there were, and how many members the last one had.

    A node that came to the end of an earlier attempt keeps what it has, for who did not. No round at all: the encoder
    came from another member.
    """
    agreement, party = context.agreement, context.settings.party
    group = group_of(agreement, context.me)
    if group is None:
        raise AgreementError("the coordinator started encode, in which this party has no part")
    rounds = group_rounds(agreement, group)
    sources = party_sources(party, context.queries, context.data)
    seen = raw_panel(party, sources, calendar_of(agreement.dated), entities)
    learner = encoder_learner(
        seen.values,
        group.encoder,
        group,
        party.own_columns,
        encoder_seed(rounds, attempt),
        winsorise=party.winsorise,
        who=party.name,
    )
    flow = in_order(
        context, group, entities, np.asarray(seen.covered.any(axis=0)), _prepared(context, group, learner, seen.values)
    )
    made = context.perform("encode", attempt, flow)
    return {"rounds": len(made.rounds), "members": len(made.rounds[-1].names) if made.rounds else 0}


def _prepared(context: RunContext, group: GroupTerms, learner: EncoderLearner, raw: F64) -> Flow[JointEncoder]:
    """The encoder, and after it the expansion where there is one; each kept as soon as it is there."""
    agreement, party, folder = context.agreement, context.settings.party, context.run_folder
    rounds, plan = group_rounds(agreement, group), expansion_plan(agreement, group)
    held, stream = kept_encoder(folder), SecretStream(os.urandom(32))
    made = yield from join_group(rounds, context.me, learner, learner.weights, stream, held)
    if made.weights is not held:
        keep_encoder(folder, made.weights, [one.names for one in made.rounds])
    if plan is not None:
        rows = expansion_rows(raw, plan.shape, party.own_columns, winsorise=party.winsorise, who=party.name)
        sums = kept_expansion(folder)
        fitted = yield from join_expansion(plan, context.me, rows, stream, sums)
        if fitted.weights is not sums:
            keep_expansion(folder, fitted.weights)
    return made
