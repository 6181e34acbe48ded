"""What a node checks before its key signs an agreement: against its own data, roster and limits."""

from __future__ import annotations

from datetime import datetime

from parties import __version__
from parties.agreement import COORDINATOR, Agreement
from parties.errors import AgreementError
from parties.identity import Identity, Roster
from parties.ledger.entries import Unit
from parties.node.settings import NodeSettings
from vfl.he import PARAMETER_SETS
from vfl.plan import RidgeModel

__all__ = ["check_agreement", "summary_lines"]


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
    missing = {h.name for h in agreement.walk_forward.horizons} - set(settings.label.horizons if settings.label else ())
    if mine.role == "label" and missing:
        raise AgreementError(f"this node has no query for the labels {', '.join(sorted(missing))}: add label.horizons")
    for party in agreement.parties:
        if party.name != identity.name:
            _check_peer(party.name, party.identity_key, party.certificate_sha256, roster)
    _check_peer(COORDINATOR, None, agreement.coordinator_certificate_sha256, roster)
    _check_arithmetic(agreement)
    if agreement.placebo is not None:
        raise AgreementError("this version carries out no placebo run: use a later one")
    _check_readers(agreement, settings)
    _check_limits(agreement, settings)


def _check_readers(agreement: Agreement, settings: NodeSettings) -> None:
    """What the operator has checked of readers without a node outweighs what was proposed."""
    known = settings.limits.readers
    for name, key in agreement.readers.items():
        if known and known.get(name) != key:
            raise AgreementError(
                f"the agreement seals the factor for {name!r} under the key {key[:16]}..., which is not in "
                "limits.readers of this node: compare it with its owner, then add it there or refuse"
            )


def _check_arithmetic(agreement: Agreement) -> None:
    terms, bits = PARAMETER_SETS.get(agreement.parameter_set), agreement.fixed_point.ring_bits
    if terms is None:
        known = ", ".join(sorted(PARAMETER_SETS))
        raise AgreementError(f"parameter_set {agreement.parameter_set!r} is not one of {known}: propose one of these")
    if bits > terms.most_ring_bits:
        raise AgreementError(
            f"fixed_point.ring_bits = {bits} is above the {terms.most_ring_bits} that parameter_set {terms.name!r} "
            "takes: lower it, or choose a larger set"
        )


def _check_peer(name: str, key: str | None, certificate: str, roster: Roster) -> None:
    if name not in roster:
        raise AgreementError(f"{name!r} is in the agreement but not in this node's roster: add it or refuse")
    if roster[name].certificate_sha256 != certificate or (key is not None and roster[name].identity_key != key):
        raise AgreementError(f"the agreement names another key or certificate for {name!r} than this node's roster")


def _check_limits(agreement: Agreement, settings: NodeSettings) -> None:
    limits = settings.limits
    if settings.party.role != "feature":
        return
    if agreement.openings.limit_per_row > limits.openings_per_row:
        raise AgreementError(
            f"the agreement opens a row up to {agreement.openings.limit_per_row} times; this node's standing limit "
            f"is {limits.openings_per_row}: raise limits.openings_per_row or ask for fewer"
        )
    if agreement.openings.largest_fraction > limits.largest_fraction:
        raise AgreementError(
            f"the agreement may show linear forms of {agreement.openings.largest_fraction:.0%} of a row; "
            f"this node's standing limit is {limits.largest_fraction:.0%}: raise limits.largest_fraction or refuse"
        )
    never = sorted(set(limits.columns_never) & set(agreement.party(settings.party.name).columns))
    if never:
        raise AgreementError(f"columns {', '.join(never)} may enter no run (limits.columns_never)")
    strangers = sorted({p.name for p in agreement.parties} - {settings.party.name} - set(limits.counterparties))
    if limits.counterparties and strangers:
        raise AgreementError(f"{', '.join(strangers)} are not among limits.counterparties of this node")


def summary_lines(agreement: Agreement) -> tuple[str, ...]:
    """What signing means, in sentences an operator reads before approving."""
    features = ", ".join(f"{p.name} ({len(p.columns)} columns)" for p in agreement.features)
    exposed = agreement.row_limit * agreement.model.embedding_width
    lines = [
        f"Purpose: {agreement.purpose or 'none given'}",
        f"Label party: {agreement.label.party}; label: {agreement.label.definition}",
        f"Feature parties: {features}",
        "Every party learns which of its entities all parties hold, and every set's size."
        if agreement.alignment.policy == "psi"
        else "Rows are a public list: nobody learns anyone's coverage.",
        f"The label party learns, for each opened row, the sum of {len(agreement.features)} embeddings of width "
        f"{agreement.model.embedding_width}, at most {agreement.row_limit} times: {exposed} linear forms of "
        f"{agreement.total_features} features ({exposed / agreement.total_features:.0%}).",
    ]
    if isinstance(agreement.model, RidgeModel):
        least = agreement.model.smallest_block(agreement.total_features)
        lines.append(
            "The label party also learns second moments of all feature columns and the label, summed over blocks of at "
            f"least {least} rows, each party's columns in a basis only that party knows; one that cheats reads up to "
            f"{len(agreement.party(agreement.label.party).columns) + 1} linear forms over rows per block instead."
        )
    elif agreement.model.warm_start == "ridge":
        least = agreement.model.smallest_block(agreement.total_features)
        lines.append(
            "For a warm start the label party also learns second moments of all feature columns and the label, "
            f"summed over the warm-up rows, at least {least}, each party's columns in a basis only that party knows; "
            f"one that cheats reads up to {len(agreement.party(agreement.label.party).columns) + 1} linear forms over "
            "these rows instead, each time training begins anew. It is charged as an opening of each of these rows."
        )
    if agreement.openings.contribution == "masked":
        lines.append("For contribution it also learns the sums of every coalition, so each party's own embedding.")
    if agreement.openings.attribution:
        lines.append(
            "For attribution it also learns one number per feature party and period, which explains the factor; "
            "one that cheats reads one linear form of a period's rows instead, charged as an opening of each row."
        )
    if agreement.openings.single_party:
        lines.append("WARNING: with one feature party, its own embedding is opened (single-party opening).")
    lines += [
        f"Further label {horizon.name}, {horizon.periods} periods ahead: {horizon.definition or 'no definition'}; "
        f"{horizon.share:.0%} of the score. It costs no opening; training waits for the longest horizon."
        for horizon in agreement.walk_forward.horizons
    ]
    lines.append(f"The factor goes to: {', '.join(agreement.recipients) or 'nobody'}")
    lines += [
        f"It is also sealed for {name}, who runs no node, under the key {key}: compare the key with its owner."
        for name, key in agreement.readers.items()
    ]
    lines += _money_lines(agreement)
    lines.append(f"Expires: {agreement.expires_at:%Y-%m-%d %H:%M} UTC. Run id: {agreement.run_id}")
    return tuple(lines)


def _money_lines(agreement: Agreement) -> list[str]:
    """What the reward terms bind the parties to."""
    terms, rules = agreement.reward, agreement.reward.settlement
    unit = Unit(terms.unit, terms.scale)
    pot = f"{unit.format(terms.pot)} {terms.unit}"
    lines = [f"Reward pot: {pot}, by contribution less {terms.risk_aversion:g} standard errors"]
    if rules is None:
        return lines
    stakes = ", ".join(f"{party} {unit.format(stake)}" for party, stake in rules.stakes.items())
    if stakes:
        lines.append(
            f"At stake: {stakes} {terms.unit}. Up to {rules.clip:.0%} of it is won or lost on live data; lost stake "
            + ("pays later rewards." if rules.forfeits == "pot" else "is the consortium's income.")
        )
    people = ", ".join(rules.approvers) or "members of the roster"
    lines.append(
        f"Rewards are final after {rules.live_periods} live periods, at least {rules.final_after_days} days after the "
        f"close; {rules.approvals} people must approve ({people}). A dispute "
        f"puts {unit.format(rules.dispute_deposit)} at risk; stake asked back leaves after {rules.cooling_days} days."
    )
    return lines
