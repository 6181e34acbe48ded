"""What a node checks before its key signs an agreement: against its own data, roster and limits."""

from __future__ import annotations

from datetime import datetime

from parties import __version__
from parties.agreement.arithmetic import check_arithmetic, check_openings
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.product_terms import co_owners
from parties.agreement.screen_terms import holders_of
from parties.agreement.who_learns import ALONE_OVER_A_LIST, opens_alone
from parties.errors import AgreementError
from parties.members.keys import Identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.group_encoder import check_group
from parties.node.own_rows import OwnRows, own_cautions
from parties.node.settings import BOUNDED, NodeSettings
from vfl.terms import AnchoredModel, ScreenModel, SplitModel

__all__ = ["check_agreement", "left_to_a_person"]


def check_agreement(
    agreement: Agreement, settings: NodeSettings, identity: Identity, roster: Roster, now: datetime
) -> None:
    """Raise :class:`AgreementError` unless this node can and may take part as the agreement says."""
    mine = agreement.party(identity.name)
    if agreement.expires_at <= now:
        raise AgreementError(f"the agreement expired at {agreement.expires_at:%Y-%m-%d %H:%M} UTC: propose it again")
    if agreement.code_version != __version__:
        raise AgreementError(
            f"the agreement is for Entente {agreement.code_version} and this node runs {__version__}: use one version"
        )
    if (mine.role, mine.identity_key, mine.certificate_sha256) != (
        settings.party.role,
        identity.public_key,
        identity.certificate_sha256,
    ):
        raise AgreementError(f"the agreement names another role, key or certificate for {identity.name!r} than it has")
    if mine.role == "feature" and mine.columns != settings.party.output_columns:
        differing = sorted(set(mine.columns) ^ set(settings.party.output_columns)) or ["their order"]
        raise AgreementError(f"the agreed columns differ from node.toml: {', '.join(differing)}; propose it again")
    if mine.text != settings.party.text_declared:
        raise AgreementError(
            "the agreement declares other columns of texts, or another scorer, for this party than node.toml: propose "
            "it again"
        )
    if mine.encoder != settings.party.encoder_declared:
        raise AgreementError("the agreement declares another encoder for this party than node.toml: propose it again")
    check_group(agreement, settings.party)
    if mine.expansion != settings.party.expansion_declared:
        raise AgreementError("the agreement declares another expansion for this party than node.toml: propose it again")
    missing = {h.name for h in agreement.walk_forward.horizons} - set(settings.label.horizons if settings.label else ())
    if mine.role == "label" and missing:
        raise AgreementError(f"this node has no query for the labels {', '.join(sorted(missing))}: add label.horizons")
    if mine.legal_entity != settings.party.legal_entity:
        raise AgreementError(
            f"the agreement says that {identity.name} belongs to {mine.legal_entity or 'nobody'!r} and node.toml says "
            f"{settings.party.legal_entity or 'nobody'!r}: refuse, or start the node again after changing node.toml"
        )
    for party in agreement.parties:
        if party.name != identity.name:
            _check_peer(party.name, party.identity_key, party.certificate_sha256, roster)
            _check_entity(party.name, party.legal_entity, roster)
    _check_peer(COORDINATOR, None, agreement.coordinator_certificate_sha256, roster)
    check_arithmetic(agreement)
    check_openings(agreement)
    _check_readers(agreement, settings)
    _check_limits(agreement, settings)


def left_to_a_person(agreement: Agreement, settings: NodeSettings, own: OwnRows | None = None) -> tuple[str, ...]:
    """Why a node that signs by itself leaves this agreement to its operators: what its standing limits do not name.

    For an agreement that :func:`check_agreement` has passed, so that the limits there are hold. own: what
    :func:`check_own_rows` measured.
    """
    limits, reasons = settings.limits, []
    if not limits.counterparties:
        reasons.append("limits.counterparties names nobody to sign with")
    unlimited = {"readers"} if not limits.readers else set()
    unlimited |= {"model.embedding_width"} if limits.forms_per_row is None else set()
    named = (BOUNDED - unlimited) | set(limits.accepts)
    cautions = (*agreement_cautions(agreement, settings.party.name), *own_cautions(own))
    reasons += [f"{one.term}: {one.words}" for one in cautions if one.term not in named]
    return tuple(reasons)


def _check_readers(agreement: Agreement, settings: NodeSettings) -> None:
    """What the operator has checked of readers without a node outweighs what was proposed."""
    known = settings.limits.readers
    for name, key in agreement.readers.items():
        if known and known.get(name) != key:
            raise AgreementError(
                f"the agreement seals the factor for {name!r} under the key {key[:16]}..., which is not in "
                "limits.readers of this node: compare it with its owner, then add it there or refuse"
            )


def _check_peer(name: str, key: str | None, certificate: str, roster: Roster) -> None:
    if name not in roster:
        raise AgreementError(f"{name!r} is in the agreement but not in this node's roster: add it or refuse")
    if roster[name].certificate_sha256 != certificate or (key is not None and roster[name].identity_key != key):
        raise AgreementError(f"the agreement names another key or certificate for {name!r} than this node's roster")


def _check_entity(name: str, said: str, roster: Roster) -> None:
    """Pay goes by legal entity, so nobody but the party itself says whose it is."""
    signed = roster[name].legal_entity
    if said != signed:
        raise AgreementError(
            f"the agreement says that {name} belongs to {said or 'nobody'!r}, and {name} itself signed "
            f"{signed or 'nobody'!r} in this node's roster: refuse; what it signs anew comes with entente party rotate"
        )


def _check_forms(agreement: Agreement, settings: NodeSettings) -> None:
    """Limits on sums of embeddings, which a sealed model never opens."""
    limits, forms = settings.limits, agreement.row_limit * agreement.model.embedding_width
    if limits.forms_per_row is not None and forms > limits.forms_per_row:
        raise AgreementError(
            f"the agreement may open {forms} numbers of a row; this node's standing limit is {limits.forms_per_row}: "
            "raise limits.forms_per_row or ask for fewer"
        )
    if agreement.openings.largest_fraction > limits.largest_fraction:
        raise AgreementError(
            f"the agreement may show linear forms of {agreement.openings.largest_fraction:.0%} of a row; "
            f"this node's standing limit is {limits.largest_fraction:.0%}: raise limits.largest_fraction or refuse"
        )
    floor = limits.batch_floor(len(agreement.party(settings.party.name).columns))
    if isinstance(agreement.model, SplitModel) and agreement.model.smallest_batch < floor:
        raise AgreementError(
            f"the agreement trains on {agreement.model.smallest_batch or 1} rows at once; this node's standing limit "
            f"(limits.smallest_batch) is {floor}: ask for model.smallest_batch = {floor} or more"
        )
    if opens_alone(agreement) and agreement.alignment.hides_coverage:
        raise AgreementError(ALONE_OVER_A_LIST)
    if agreement.openings.contribution == "masked" and limits.contribution == "none":
        raise AgreementError(
            "the agreement opens each coalition's sums, hence this party's own embeddings (limits.contribution): "
            'ask for openings.contribution = "none"'
        )


def _check_limits(agreement: Agreement, settings: NodeSettings) -> None:
    limits = settings.limits
    if isinstance(agreement.model, ScreenModel):
        strange = sorted(set(holders_of(agreement, settings.party.name)) - set(limits.anchors))
        if limits.anchors and strange:
            raise AgreementError(
                f"{', '.join(strange)} would hold shares of this party's terminals and is not among limits.anchors of "
                "this node: add it there, or ask for another order of the parties"
            )
    elif isinstance(agreement.model, AnchoredModel) and limits.anchors and agreement.model.anchor not in limits.anchors:
        raise AgreementError(
            f"the agreement's anchor is {agreement.model.anchor!r}, who is not among limits.anchors of this node: add "
            "it there, or ask for another anchor"
        )
    strange = sorted(set(co_owners(agreement, settings.party.name)) - set(limits.anchors))
    if limits.anchors and strange:
        raise AgreementError(
            f"{', '.join(strange)} would own the other half of this party's products (model.products) and is not among "
            "limits.anchors of this node: add it there, or have the formulas left out"
        )
    if settings.party.role != "feature":
        return
    if agreement.openings.limit_per_row > limits.openings_per_row:
        raise AgreementError(
            f"the agreement opens a row up to {agreement.openings.limit_per_row} times; this node's standing limit "
            f"is {limits.openings_per_row}: raise limits.openings_per_row or ask for fewer"
        )
    if not isinstance(agreement.model, AnchoredModel):
        _check_forms(agreement, settings)
    never = sorted(set(limits.columns_never) & set(agreement.party(settings.party.name).columns))
    if never:
        raise AgreementError(f"columns {', '.join(never)} may enter no run (limits.columns_never)")
    strangers = sorted({p.name for p in agreement.parties} - {settings.party.name} - set(limits.counterparties))
    if limits.counterparties and strangers:
        raise AgreementError(f"{', '.join(strangers)} are not among limits.counterparties of this node")
