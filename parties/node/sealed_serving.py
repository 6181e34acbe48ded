"""A feature party's part in training one sealed network: as its anchor, or beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.checkpoints import CheckpointStore
from parties.node.context import RunContext
from parties.node.openings import SCORES
from parties.node.sealed_records import SealedRecords
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import Columns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.messages import Members
from vfl.models.sealed.products import AnchorProducts, OwnedProducts, needs_key
from vfl.models.sealed.records import StepRecord
from vfl.models.sealed.tied import agree_start
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.resume import offer_place
from vfl.terms import SealedModel

__all__ = ["KeptShares", "masks_beside_anchor", "product_ends", "sealed_records", "serve_sealed", "tied_purpose"]

U64 = NDArray[np.uint64]
Ends = TypeVar("Ends", bound=OwnedProducts)


@dataclass(frozen=True)
class KeptShares:
    """A side's shares of the weights that training left, by owner, and the first row that they may score."""

    weights: Mapping[str, U64]
    scored_from: int


def sealed_records(party: AnchoredFeatureParty, store: CheckpointStore) -> SealedRecords:
    """The party's records of a sealed network in ``store``."""
    digest = hashlib.sha256(repr(party.values.shape).encode())
    digest.update(np.ascontiguousarray(party.values).data)
    for half in party.halves.values():
        digest.update(np.ascontiguousarray(half).data)
    return SealedRecords(store, digest.hexdigest())


def serve_sealed(
    party: AnchoredFeatureParty,
    terms: SealedModel,
    columns: Columns,
    records: SealedRecords,
    name: str,
    *,
    opens: bool = True,
    holds: bool = False,
    kept: KeptShares | None = None,
) -> Flow[None]:
    """The party's part in a training session of this name, from where everyone can go on.

    holds: in place of predictions linear scores are kept in shares, and nothing opens. kept: weights that an earlier
    training left, under which the rows of new periods are scored and nothing trains.

    Learns: as :meth:`vfl.models.sealed.anchor.SealedAnchor.serve` or
        :meth:`vfl.models.sealed.feature.SealedFeature.serve`.
    Leaks: as these.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#a-step.
    """
    agreement = party.context.agreement
    place = yield from offer_place(agreement.label.party, records.places())
    resumed = records.go_on(place)
    if party.context.me == sealed_members(agreement).anchor:
        yield from _as_anchor(party, terms, columns, records, resumed, name, opens=opens, holds=holds, kept=kept)
    else:
        yield from _beside_anchor(party, terms, columns, records, resumed, name, opens, kept)
    records.finish()


def _as_anchor(
    party: AnchoredFeatureParty,
    terms: SealedModel,
    columns: Columns,
    records: SealedRecords,
    resumed: StepRecord | None,
    name: str,
    *,
    opens: bool,
    holds: bool,
    kept: KeptShares | None,
) -> Flow[None]:
    context, members = party.context, sealed_members(party.context.agreement)
    anchor = SealedAnchor(
        members,
        columns,
        _initial_shares(party, SealedAnchor.columns_held(members), terms) if kept is None else dict(kept.weights),
        terms,
        context.agreement.fixed_point,
        coefficient_key(),
        party.budget,
        party.stream,
        session=f"{SCORES}{name}",
        supply=PreparedZeros,
        workers=context.workers,
        journal=records,
        resumed=resumed,
        opens=opens,
        holds=holds,
        scored_from=None if kept is None else kept.scored_from,
        products=product_ends(party, terms, len(columns), AnchorProducts),
    )
    yield from anchor.serve()


def _beside_anchor(
    party: AnchoredFeatureParty,
    terms: SealedModel,
    columns: Columns,
    records: SealedRecords,
    resumed: StepRecord | None,
    name: str,
    opens: bool,
    kept: KeptShares | None,
) -> Flow[None]:
    context, members = party.context, sealed_members(party.context.agreement)
    held = SealedFeature.columns_held(context.me, members)
    masks = yield from masks_beside_anchor(party)
    if kept is not None:
        weights = kept.weights
    elif len(members.group(context.me)) > 1:
        weights = {context.me: (yield from _tied_start(context, members, terms))}
    else:
        weights = _initial_shares(party, held, terms)
    other = SealedFeature(
        context.me,
        members,
        columns,
        weights[context.me],
        terms,
        context.agreement.fixed_point,
        masks,
        SecretStream(os.urandom(32)),
        session=name,
        supply=PreparedZeros,
        workers=context.workers,
        journal=records,
        resumed=resumed,
        opens=opens,
        scored_from=None if kept is None else kept.scored_from,
        products=product_ends(party, terms, len(columns), OwnedProducts),
        shared={name: weights[name] for name in held if name != context.me},
    )
    yield from other.serve()


def product_ends(party: AnchoredFeatureParty, terms: SealedModel, rows: int, kind: type[Ends]) -> Ends | None:
    """The party's end of product columns, for one session over the first ``rows`` rows; None where the run has none."""
    context, members = party.context, sealed_members(party.context.agreement)
    if not members.products:
        return None
    return kind(
        context.me,
        members,
        {name: half[:rows] for name, half in party.halves.items()},
        terms.embedding_width,
        SecretStream(os.urandom(32)),
        slot_key() if needs_key(context.me, members) else None,
        supply=PreparedZeros,
        workers=context.workers,
    )


def _initial_shares(party: AnchoredFeatureParty, held: Mapping[str, int], terms: SealedModel) -> dict[str, U64]:
    """This side's part of the first weights of these blocks."""
    context = party.context
    purpose, total = context.agreement.initial_purpose, sealed_members(context.agreement).columns
    return {
        owner: sealed_start(context.secret(f"sealed/{purpose}/{owner}"), count, terms, total)
        for owner, count in held.items()
    }


def _tied_start(context: RunContext, members: Members, terms: SealedModel) -> Flow[U64]:
    """The share of the first weights that all members of a group with one head draw from what each brings.

    Learns: as :func:`vfl.models.sealed.tied.agree_start`.
    Leaks: as this.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#tied-heads.
    """
    group = members.group(context.me)
    part = context.secret(tied_purpose(context.agreement, group, context.me))
    seed = yield from agree_start(context.me, group, part)
    return sealed_start(seed, members.features[context.me], terms, members.columns)


def tied_purpose(agreement: Agreement, group: Sequence[str], member: str) -> str:
    """What a member's part of its group's first weights is derived for, in a run and its trials alike."""
    return f"sealed/{agreement.initial_purpose}/tied/{group[0]}/{member}"


def masks_beside_anchor(party: AnchoredFeatureParty) -> Flow[ZeroSumMasks]:
    """Of this attempt: what is repeated after a crash meets no old mask.

    Learns: nothing.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#a-step.
    """
    context, others = party.context, sealed_members(party.context.agreement).others
    return agree_masks(context.me, others, context.run_id, PRIME_RING, party.stream)
