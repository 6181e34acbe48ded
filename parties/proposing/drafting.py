"""From ``consortium.toml`` and who the parties are to the agreement that an admin proposes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from parties import __version__
from parties.agreement.arithmetic import warmup_fault
from parties.agreement.document import Agreement
from parties.agreement.federated_terms import payloads_of
from parties.agreement.group_terms import with_group_encoders
from parties.agreement.terms import LabelTerms, PartyTerms, RewardTerms
from parties.agreement.who_learns import ALONE_OVER_A_LIST, opens_alone
from parties.errors import ConfigError
from parties.files.toml import read_toml
from parties.names import COORDINATOR
from parties.proposing.anchors import anchored
from parties.proposing.configurations import signed_search
from parties.proposing.members import with_members
from parties.settings.consortium import (
    ConsortiumSettings,
    EncoderSettings,
    ExpansionSettings,
    PartySettings,
)
from parties.settings.faults import first_said
from parties.settings.terminals import TerminalSettings
from parties.settings.text import TextSettings
from vfl.terms import (
    ROWS_PER_COLUMN,
    AnchoredModel,
    FederatedModel,
    OpeningTerms,
    ScreenModel,
    SplitModel,
)

__all__ = [
    "Node",
    "Offer",
    "TermsFault",
    "agreement_of",
    "coalition_of",
    "load_proposal",
    "offered_terms",
    "terms_of",
]

_VALIDITY = timedelta(days=1)
_AT_HOME = "(at its own node)"


class Node(Protocol):
    """Where a node is and by which keys it is known: a roster's member, or what the coordinator shows of one."""

    @property
    def address(self) -> str: ...

    @property
    def identity_key(self) -> str: ...

    @property
    def certificate_sha256(self) -> str: ...


class Offer(Protocol):
    """What a party's node says it brings to runs."""

    @property
    def role(self) -> str: ...

    @property
    def legal_entity(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def label_name(self) -> str: ...

    @property
    def label_definition(self) -> str: ...


class TermsFault(ConfigError):
    """Terms that cannot be proposed. ``field`` says where, such as model.embedding_width, or is ""; ``fault`` what."""

    def __init__(self, field: str, fault: str) -> None:
        super().__init__(f"{field}: {fault}" if field else fault)
        self.field = field
        self.fault = fault


def load_proposal(path: Path, offers: Mapping[str, Offer]) -> ConsortiumSettings:
    """The terms in ``path``, as :func:`offered_terms` reads them. Raises :class:`ConfigError` naming the file."""
    raw = read_toml(path, "name an existing file of terms")
    try:
        return offered_terms(raw, offers)
    except TermsFault as fault:
        # its sentence names the party already
        told = fault.fault if fault.field in ("party", "parties") else str(fault)
        raise ConfigError(f"{path}: {told}") from None


def offered_terms(terms: Mapping[str, Any], offers: Mapping[str, Offer]) -> ConsortiumSettings:
    """The terms, with each party's role and columns as its own node offers them.

    They have the shape of a consortium.toml, or of one without queries: its parties are ``[[party]]`` tables, of which
    only ``name`` is needed, or a list ``parties = ["bank", ...]``. Raises :class:`TermsFault` where they do not fit.
    """
    raw = dict(with_group_encoders(terms))
    tables = raw.pop("party", None) or [{"name": name} for name in raw.get("parties") or ()]
    raw.pop("parties", None)
    if not all(isinstance(table, Mapping) and isinstance(table.get("name"), str) for table in tables):
        raise TermsFault("party", "every [[party]] needs a name")
    raw["party"] = tuple(_offered(table, offers) for table in tables)
    label = next((offers[party.name] for party in raw["party"] if party.role == "label"), None)
    given = raw.get("label", {})
    if not isinstance(given, Mapping):
        raise TermsFault("label", "give its name and its definition")
    said = {key: value for key, value in given.items() if key in ("name", "definition", "residual")}
    raw["label"] = {
        "name": said.get("name") or (label.label_name if label else ""),
        "definition": said.get("definition") or (label.label_definition if label else ""),
        "query": _AT_HOME,
        "residual": said.get("residual") or (),
    }
    try:
        return ConsortiumSettings.model_validate(raw)
    except ValidationError as error:
        raise _fault(error) from None


def _fault(error: ValidationError) -> TermsFault:
    """The first thing that is wrong. A sentence about several fields is put at the one that it tells to change."""
    # a union's tag, such as the model's kind, stands in the place but in nobody's file
    kinds = ("sealed", "split", "ridge", "trees", "ensemble", "screen", "federated")
    loc, text = first_said(error)
    place = ".".join(str(part) for number, part in enumerate(loc) if number != 1 or part not in kinds)
    if not place:
        named = re.search(
            r"\b((?:model|openings|group|alignment|fees|walk_forward|daily|reward\.settlement)\.[a-z_]+)", text
        )
        place = named[1] if named else ""
    return TermsFault(place, text)


def _offered(table: Mapping[str, Any], offers: Mapping[str, Offer]) -> PartySettings:
    """A party as its node offers itself; columns and role in the terms must be those."""
    name = str(table["name"])
    offer = offers.get(name)
    if offer is None:
        raise TermsFault("parties", f"{name!r} is no member of this consortium: invite it first")
    if offer.role not in ("label", "feature") or (offer.role == "feature" and not offer.columns):
        raise TermsFault("parties", f"{name!r} has not said what it brings: its node must have been started once")
    indicators = (f"{column}_missing" for column in table.get("missing_indicators", ()))
    encoder = EncoderSettings.model_validate(table["encoder"]).output_columns if "encoder" in table else ()
    text = TextSettings.model_validate(table["text"]).output_columns if "text" in table else ()
    listed = (*table.get("columns", ()), *text)
    made = ExpansionSettings.model_validate(table["expand"]).output_columns(listed) if "expand" in table else ()
    kept = TerminalSettings.model_validate(table["terminals"]).output_columns if "terminals" in table else ()
    wanted = (*listed, *encoder, *made, *kept, *indicators)
    differing = sorted(set(wanted) ^ set(offer.columns)) if wanted else []
    if differing:
        sides = (
            ("only the file has ", [column for column in differing if column in wanted]),
            ("only the node has ", [column for column in differing if column not in wanted]),
        )
        told = "; ".join(side + ", ".join(columns[:5]) for side, columns in sides if columns)
        raise TermsFault(
            "parties",
            f"{name!r} offers other columns than the file: {told}. Name those that the node offers, or leave columns "
            "out, which takes all of them",
        )
    if table.get("role", offer.role) != offer.role:
        raise TermsFault("parties", f"{name!r} takes part as {offer.role} party, not as {table['role']}")
    role: Literal["label", "feature"] = "label" if offer.role == "label" else "feature"
    return PartySettings(
        name=name,
        role=role,
        legal_entity=offer.legal_entity,
        query=_AT_HOME if offer.columns else "",
        columns=tuple(offer.columns),
    )


def coalition_of(
    settings: ConsortiumSettings,
    *,
    only: Collection[str] = (),
    without: Collection[str] = (),
    limit_per_row: int | None = None,
    largest_fraction: float | None = None,
    single_party: bool = False,
) -> ConsortiumSettings:
    """The terms of the retrain run of a coalition: the label party and some feature parties, the rest as agreed.

    Such a run measures and pays nothing: no openings for contributions, no pot, no stakes, no fees. Recipients stay, as
    far as they take part. Opening limits replace the file's where given; ``single_party`` is asked of a coalition of
    one and dropped for others. Raises :class:`ConfigError` for strangers, and for a coalition of nobody.
    """
    features = [party.name for party in settings.party if party.role == "feature"]
    strangers = sorted({*only, *without} - set(features))
    if strangers:
        raise ConfigError(f"{strangers[0]!r} is no feature party of these terms: choose from {', '.join(features)}")
    members = tuple(name for name in features if (name in only or not only) and name not in without)
    if not members:
        raise ConfigError("a coalition of nobody needs no run: every run tells the label party's own rank IC")
    openings: dict[str, Any] = {"contribution": "none", "attribution": False}
    openings["single_party"] = (single_party or settings.openings.single_party) and len(members) == 1
    if limit_per_row is not None:
        openings["limit_per_row"] = limit_per_row
    if largest_fraction is not None:
        openings["largest_fraction"] = largest_fraction
    try:
        opened = OpeningTerms.model_validate(settings.openings.model_dump() | openings)
    except ValidationError as error:
        first = error.errors()[0]
        raise TermsFault(f"openings.{first['loc'][0]}", first["msg"]) from None
    parted = [group.name for group in settings.group if 0 < len(set(group.members) & set(members)) < len(group.members)]
    if parted:
        raise ConfigError(
            f"a coalition takes all members of group {parted[0]} or none: they train one encoder together"
        )
    staying = tuple(party for party in settings.party if party.role == "label" or party.name in members)
    present = {COORDINATOR, *(party.name for party in staying)}
    model = _with_batch_floor(settings).model  # of all parties, so that coalitions train on the same steps
    if isinstance(model, FederatedModel):
        raise ConfigError('a federated run trains its coalitions itself: set openings.contribution = "retrain"')
    if isinstance(model, AnchoredModel) and not isinstance(model, ScreenModel) and model.anchor not in members:
        model = model.model_copy(update={"anchor": ""})
    about = f"retrain run of the coalition {', '.join(members)}"
    return settings.model_copy(
        update={
            "purpose": f"{settings.purpose} ({about})" if settings.purpose else about,
            "party": staying,
            "group": tuple(group for group in settings.group if set(group.members) <= set(members)),
            "model": model,
            "fixed_point": _with_room(settings).fixed_point,
            "openings": opened,
            "reward": RewardTerms(unit=settings.reward.unit, scale=settings.reward.scale),
            "fees": None,
            "search": None,
            "daily": None,
            "recipients": tuple(name for name in settings.recipients if name in present),
        }
    )


def agreement_of(
    settings: ConsortiumSettings,
    nodes: Mapping[str, Node],
    now: datetime,
    validity: timedelta = _VALIDITY,
    coalition: str = "",
) -> Agreement:
    """The terms of one run, to be signed within ``validity``. Raises :class:`ConfigError` for terms that contradict.

    ``coalition`` goes into the nonce, so that a retrain run says in what it signs that it is one.
    """
    from parties.data.calendar import calendar_terms

    label = next(party.name for party in settings.party if party.role == "label")
    settings = _with_room(_with_batch_floor(anchored(with_members(settings))))
    coordinator = nodes[COORDINATOR]
    try:
        made = Agreement(
            consortium=settings.name,
            purpose=settings.purpose,
            proposed_at=now,
            expires_at=now + validity,
            nonce=f"{coalition}:{secrets.token_hex(16)}" if coalition else secrets.token_hex(16),
            coordinator_certificate_sha256=coordinator.certificate_sha256,
            coordinator_address=coordinator.address,
            parties=tuple(
                PartyTerms(
                    name=party.name,
                    role=party.role,
                    legal_entity=party.legal_entity,
                    address=nodes[party.name].address,
                    identity_key=nodes[party.name].identity_key,
                    certificate_sha256=nodes[party.name].certificate_sha256,
                    columns=party.output_columns,
                    text=party.text_declared or str(getattr(nodes[party.name], "text", "")),
                    encoder=party.encoder_declared or str(getattr(nodes[party.name], "encoder", "")),
                    expansion=party.expansion_declared or str(getattr(nodes[party.name], "expansion", "")),
                )
                for party in settings.party
            ),
            groups=settings.group,
            label=LabelTerms(
                name=settings.label.name,
                definition=settings.label.definition,
                party=label,
                residual=settings.label.residual,
            ),
            calendar=None if settings.calendar is None else calendar_terms(settings.calendar),
            static=settings.static,
            alignment=settings.alignment,
            fixed_point=settings.fixed_point,
            parameter_set=settings.parameter_set,
            model=settings.model,
            walk_forward=settings.walk_forward,
            openings=settings.openings,
            evaluation=settings.evaluation,
            reward=settings.reward,
            fees=settings.fees,
            search=signed_search(settings),
            recipients=settings.recipients or (label,),
            payloads=payloads_of(settings.model),
            readers=settings.readers,
            daily=settings.daily,
            code_version=__version__,
        )
    except ValidationError as error:
        raise _contradiction(error) from None
    _check_kept(made)
    return made


def _check_kept(made: Agreement) -> None:
    """What a node would refuse once it looks at its data."""
    if made.alignment.hides_coverage and opens_alone(made):
        raise TermsFault("openings.contribution", ALONE_OVER_A_LIST)
    if short := warmup_fault(made):
        raise TermsFault("walk_forward.warmup", short)


def _with_batch_floor(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The terms with the fewest rows of a training step, where the model has such steps and they say nothing."""
    model = settings.model
    if not isinstance(model, SplitModel) or model.smallest_batch:
        return settings
    most = max((len(party.output_columns) for party in settings.party if party.role == "feature"), default=0)
    floor = ROWS_PER_COLUMN * most
    if model.batch_rows < 2 * floor:
        raise TermsFault(
            "model.batch_rows",
            f"a training step needs {floor} rows, {ROWS_PER_COLUMN} for each of {most} columns, so batches of "
            f"{2 * floor} or more: raise it, or name model.smallest_batch yourself",
        )
    return settings.model_copy(update={"model": model.model_copy(update={"smallest_batch": floor})})


def _with_room(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The terms with as many bits of a gradient as their columns leave room for, where they name none themselves."""
    fixed = settings.fixed_point
    if isinstance(settings.model, AnchoredModel) or "gradient_bits" in fixed.model_fields_set:
        return settings
    columns = sum(len(party.output_columns) for party in settings.party if party.role == "feature")
    try:
        return settings.model_copy(update={"fixed_point": fixed.fitting(columns)})
    except ValueError as error:
        raise TermsFault("fixed_point.ring_bits", str(error)) from None


def _contradiction(error: ValidationError) -> TermsFault:
    found = _fault(error)
    return TermsFault(found.field, f"the consortium's terms do not hold together: {found.fault}")


def terms_of(agreement: Agreement) -> dict[str, Any]:
    """The terms of a run, to propose another like it: :func:`offered_terms` takes them. Columns are not among them."""
    same = (
        "alignment", "fixed_point", "model", "walk_forward", "openings", "evaluation", "reward", "fees", "readers",
        "daily",
    )  # fmt: skip
    body = agreement.model_dump(mode="json", include={*same, "purpose", "parameter_set", "recipients"})
    return {
        **{key: value for key, value in body.items() if value is not None},
        "name": agreement.consortium,
        **({"group": agreement.model_dump(mode="json", include={"groups"})["groups"]} if agreement.groups else {}),
        "label": agreement.label.model_dump(mode="json", exclude={"party"}),
        **_times_of(agreement),
        "parties": [party.name for party in agreement.parties],
    }


def _times_of(agreement: Agreement) -> dict[str, Any]:
    """The calendar of a run as terms name it, or that its data has none."""
    calendar, static = agreement.calendar, agreement.static
    if calendar is None:
        assert static is not None
        return {"static": static.model_dump(mode="json", exclude_none=True)}
    lag = calendar.cutoffs[0] - calendar.period_ends[0]
    return {
        "calendar": {
            "frequency": calendar.frequency,
            "first": calendar.period_ends[0].astimezone(UTC).date().isoformat(),
            "last": calendar.period_ends[-1].astimezone(UTC).date().isoformat(),
            "decision_lag_days": lag.days,
        }
    }
