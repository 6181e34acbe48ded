"""Phase encode: a member learns what it serves where its group agreed on an order, trains the group's encoder with the
others, on its own rows, and keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from parties.agreement.group_terms import group_of, group_rounds
from parties.data.calendar import calendar_of
from parties.data.group_encoder import encoder_learner
from parties.data.panel import raw_panel
from parties.data.sources import party_sources
from parties.errors import AgreementError
from parties.node.context import RunContext
from parties.node.group_encoder import keep_encoder, kept_encoder
from parties.node.group_order import in_order
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.group import encoder_seed, join_group

__all__ = ["train_encoder"]


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
    held, stream = kept_encoder(context.run_folder), SecretStream(os.urandom(32))
    training = join_group(rounds, context.me, learner, learner.weights, stream, held)
    flow = in_order(context, group, entities, np.asarray(seen.covered.any(axis=0)), training)
    made = context.perform("encode", attempt, flow)
    if made.weights is not held:
        keep_encoder(context.run_folder, made.weights, [one.names for one in made.rounds])
    return {"rounds": len(made.rounds), "members": len(made.rounds[-1].names) if made.rounds else 0}
