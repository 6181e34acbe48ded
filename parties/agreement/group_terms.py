"""Terms of a group: feature parties of a run with the same columns, which train one encoder of them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from parties.agreement.federated_terms import FEWEST_MEMBERS, check_same_columns, check_threshold
from parties.agreement.group_expansion import check_expansion, expansion_sentences
from parties.agreement.tied_terms import check_tied, tied_cautions, tied_learn, tied_line
from parties.names import COORDINATOR, PartyName
from parties.plurals import things
from vfl.encoder_terms import EncoderShape
from vfl.expansion_terms import ExpansionShape
from vfl.federated_terms import FederatedRounds
from vfl.models.disclosure import Caution
from vfl.models.federated_opens import privacy_sentence, rounds_sentences
from vfl.terms import SealedModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from vfl.federated.expansion import ExpansionPlan
    from vfl.federated.rounds import Rounds

__all__ = [
    "GroupTerms",
    "absent_lines",
    "check_groups",
    "expansion_plan",
    "group_cautions",
    "group_lines",
    "group_of",
    "group_rounds",
    "groups_learn",
    "order_lines",
    "own_columns",
    "with_group_encoders",
]


class GroupTerms(FederatedRounds):
    """Members that train one encoder of their columns by federated averaging, before the run's own model.

    Each serves its own entities, as any feature party; their encoder is common, and with ``head`` their weights.
    """

    section: ClassVar[str] = "group"

    name: PartyName = Field(description="of the group, which its members' [party.encoder] names")
    members: tuple[PartyName, ...] = Field(description="feature parties of the run that have the same columns")
    encoder: EncoderShape = EncoderShape()
    expand: ExpansionShape | None = Field(
        default=None, description="an expansion that the members fit together by sums; none: each may have its own"
    )
    absent: Literal["drawn", "zeros"] = Field(
        default="drawn",
        description="what a member serves for an entity that it does not have: a row drawn from its others, as every "
        "party does; or zeros, so that an entity is scored by those who have it: tells more, and is for a sealed model",
    )
    overlap: Literal["both", "precedence"] = Field(
        default="both",
        description="an entity that several members have. both: each serves it; precedence: the first of them in the "
        "order of members does, and each other learns which of its own it leaves and serves what absent says for them",
    )
    head: Literal["own", "tied"] = Field(
        default="own",
        description="weights of a sealed model on the members' columns: each its own; or tied, the same for all, under "
        "which their rows add up as one party's would: tells the label party and a member more of the others",
    )

    def numbers(self, columns: int) -> int:
        """Weights that members have in common, of an encoder of so many columns of theirs."""
        return self.encoder.numbers(len(self.encoder.columns) or columns, whole=not self.personal_head)


def group_of(agreement: Agreement, party: str) -> GroupTerms | None:
    """The group that a party is a member of."""
    return next((group for group in agreement.groups if party in group.members), None)


def own_columns(agreement: Agreement, group: GroupTerms) -> tuple[str, ...]:
    """The members' columns that nobody made of others, indicators left out."""
    party = agreement.party(group.members[0])
    indicators = {f"{name}_missing" for name in party.columns}
    return tuple(name for name in party.columns if not party.makes(name) and name not in indicators)


def group_rounds(agreement: Agreement, group: GroupTerms) -> Rounds:
    """The training of a group's encoder."""
    from vfl.federated.rounds import Rounds

    numbers = group.numbers(len(own_columns(agreement, group)))
    return Rounds(group, group.members, COORDINATOR, agreement.run_id, numbers)


def expansion_plan(agreement: Agreement, group: GroupTerms) -> ExpansionPlan | None:
    """How a group's members fit their expansion, after the encoder's rounds; None where they fit none."""
    from vfl.federated.expansion import ExpansionPlan

    if group.expand is None or not group.expand.fits:
        return None
    read = group.expand.read(own_columns(agreement, group))
    return ExpansionPlan(group.expand, len(read), group_rounds(agreement, group).sums, group.rounds)


def with_group_encoders(given: Any) -> Any:
    """Raw terms in which each member's table has the encoder and the expansion of its group, where it says nothing of
    them itself.
    """
    if not isinstance(given, Mapping):
        return given
    groups, parties = given.get("group"), given.get("party")
    if not isinstance(groups, Sequence) or not isinstance(parties, Sequence):
        return given
    common: dict[str, dict[str, Any]] = {}
    for group in groups:
        if isinstance(group, Mapping) and isinstance(group.get("members"), Sequence):
            shapes = {"encoder": group.get("encoder", {}), "expand": group.get("expand")}
            made = {
                key: {**shape, "group": group.get("name", "")}
                for key, shape in shapes.items()
                if isinstance(shape, Mapping)
            }
            common |= {name: made for name in group["members"] if isinstance(name, str)}
    filled = tuple(
        {**common[table["name"]], **table} if isinstance(table, Mapping) and table.get("name") in common else table
        for table in parties
    )
    return {**given, "party": filled}


def check_groups(agreement: Agreement) -> None:
    """Raise ValueError for a group that cannot train, or that this kind of run cannot have."""
    if not agreement.groups:
        return
    names = [group.name for group in agreement.groups]
    if len(set(names)) < len(names):
        raise ValueError("two groups share a name: give each its own")
    _check_run(agreement)
    taken: dict[str, str] = {}
    for group in agreement.groups:
        _check_members(agreement, group)
        for member in group.members:
            if member in taken:
                raise ValueError(
                    f"{member} is in the groups {taken[member]} and {group.name}: a member trains one encoder, leave "
                    "it in one"
                )
            taken[member] = group.name
        _check_encoder(agreement, group)


def _check_run(agreement: Agreement) -> None:
    """What a run with a group has, and has not."""
    if agreement.model.kind in ("federated", "screen"):
        raise ValueError(
            f'model.kind = "{agreement.model.kind}" has no [[group]]: leave it out, or choose another model.kind'
        )
    if agreement.alignment.policy not in ("universe", "union"):
        raise ValueError(
            "members of a group have entities of their own, of which an intersection leaves none: set "
            'alignment.policy = "universe" or "union"'
        )
    missing = {
        "static": agreement.static,
        "placebo": agreement.placebo,
        "continues": agreement.continues,
        "daily": agreement.daily,
    }
    for what, terms in missing.items():
        if terms is not None:
            raise ValueError(f"a run with a group has no {what}: leave it out")


def _check_members(agreement: Agreement, group: GroupTerms) -> None:
    features, here = {party.name for party in agreement.features}, f"group {group.name}"
    if len(set(group.members)) < len(group.members):
        raise ValueError(f"{here} names a member twice: name each once")
    if agreement.label.party in group.members:
        raise ValueError(
            f"{agreement.label.party} is the label party, and {here} takes feature parties alone: leave it out of "
            "group.members"
        )
    unknown = [name for name in group.members if name not in features]
    if unknown:
        raise ValueError(f"{here} names {unknown[0]!r}, who is no feature party of the run: add it, or leave it out")
    if len(group.members) < FEWEST_MEMBERS:
        raise ValueError(
            f"{here} needs {FEWEST_MEMBERS} members: of two each would read the other's update off the sum"
        )
    try:
        check_threshold(group, len(group.members))
    except ValueError as error:
        raise ValueError(f"{here}: {error}") from None


def _check_encoder(agreement: Agreement, group: GroupTerms) -> None:
    parties = [agreement.party(name) for name in group.members]
    check_same_columns(parties, f"every member of group {group.name}", ordered=True)
    columns = own_columns(agreement, group)
    unknown = sorted(set(group.encoder.columns) - set(columns))
    if unknown:
        raise ValueError(f"group {group.name}: encoder.columns name {unknown[0]!r}, which no member has: leave it out")
    for party in parties:
        if f"group {group.name} together" not in party.encoder or not set(group.encoder.output_columns) <= set(
            party.columns
        ):
            raise ValueError(
                f"{party.name} does not offer the codes of group {group.name}: its node.toml needs [party.encoder] "
                f'with group = "{group.name}" and the settings of group.encoder'
            )
    check_expansion(group, columns, parties, len(agreement.periods))
    if group.encoder.fit_periods >= len(agreement.periods):
        raise ValueError(
            f"group {group.name}: encoder.fit_periods = {group.encoder.fit_periods} of {len(agreement.periods)} "
            "periods leave none to make codes for: lower it"
        )
    if group.absent == "zeros" and not isinstance(agreement.model, SealedModel):
        raise ValueError(
            f"group {group.name}: rows of zeros would show in the sums that another model opens: set group.absent = "
            '"drawn", or model.kind = "sealed"'
        )
    check_tied(agreement, group)


def group_lines(agreement: Agreement) -> Iterator[str]:
    """What a run's groups train, and what opens of it."""
    for group in agreement.groups:
        names, encoder = ", ".join(group.members), group.encoder
        made = things(encoder.outputs, "columns")
        kept = " The part that restores values stays at each member and is its own." if group.personal_head else ""
        yield (
            f"Group {group.name}: {names} train one encoder of their columns together before the model is trained, in "
            f"{group.rounds} rounds of {group.local_epochs} passes at home, without labels and on the first "
            f"{encoder.fit_periods} periods alone; then it is frozen, and each makes {made} of its "
            f"own entities with it.{kept} {tied_line(agreement, group)}" + _shared(group)
        )
        numbers = group.numbers(len(own_columns(agreement, group)))
        yield from rounds_sentences(group, len(group.members), numbers)
        plan = expansion_plan(agreement, group)
        yield from expansion_sentences(group, (0, 0) if plan is None else (plan.counted, plan.moments))
        yield privacy_sentence(group)
    yield from absent_lines(agreement)


def _shared(group: GroupTerms) -> str:
    """Of an entity that several members have."""
    if group.overlap == "both":
        if group.head == "tied":
            return "an entity that several of them have counts with the sum of their rows."
        return "an entity that several of them have stands in the columns of each."
    return (
        "an entity that several of them have is served by the first of them in this order alone, and what it brings "
        f"is counted and paid as that one's. Before the rounds {group.members[1]} and those after it each learn which "
        "of their own entities a member before them serves. One that cheats and asks for entities that it does "
        "not have learns the same of those, in each attempt as many as its list is long, or of all of a public list; "
        "one that answers falsely makes another leave entities that nobody serves; and of one that lost what it found "
        "in an earlier attempt it learns in each further attempt one bit, whether that one has any of the entities "
        "that it answers otherwise."
    )


def order_lines(agreement: Agreement) -> tuple[str, ...]:
    """What members of groups learn of each other's entities beside what alignment tells."""
    return tuple(
        f"Beside that, members of group {group.name} learn which of their own entities a member before them in its "
        "order serves."
        for group in agreement.groups
        if group.overlap == "precedence"
    )


def absent_lines(agreement: Agreement) -> tuple[str, ...]:
    """What is told by the rows of entities that members do not have, by group."""
    return tuple(_absent_line(agreement, group) for group in agreement.groups)


def _absent_line(agreement: Agreement, group: GroupTerms) -> str:
    if group.absent == "drawn":
        return (
            f"For an entity that it {_lacks(group)} a member of group {group.name} serves a row drawn from its others, "
            "as any party does: noise in the score, of every member beside the one that has it."
        )
    return (
        f"WARNING: for an entity that it {_lacks(group)} a member of group {group.name} serves zeros. So the scores "
        f"tell {agreement.label.party}, and who else receives them, which entities no member has, where nobody else's "
        "columns move them; and a label party that cheats, and whoever it colludes with, can read which member "
        f"{'has' if group.overlap == 'both' else 'serves'} which entity.{_few_rows(agreement)}"
    )


def _few_rows(agreement: Agreement) -> str:
    """What numbers of coalitions are of where rows of zeros say nothing."""
    if agreement.openings.contribution != "moments":
        return ""
    return (
        " Where a member serves few entities in a period, the two numbers of a coalition of it are of these: of one "
        f"entity, {agreement.label.party} reads its score with that coalition's columns alone."
    )


def _lacks(group: GroupTerms) -> str:
    return "does not have" if group.overlap == "both" else "does not have, or leaves to a member before it,"


def groups_learn(agreement: Agreement, party: str) -> tuple[str, ...]:
    """What a party, or the coordinator, learns of the groups' training."""
    if party == COORDINATOR:
        seen = [
            f"It opens the sums of group {group.name}'s updates, and so has the encoder{_opened(group)}; no row and no "
            "code." + ("" if group.rule == "sum" else " It sees every member's update, from which rows can be read.")
            for group in agreement.groups
        ]
        return tuple(seen)
    group = group_of(agreement, party)
    if group is None:
        return ()
    trained = (
        f"It learns the encoder of group {group.name} and the average of each round's updates, which say of the "
        f"others' rows what an encoder of so many weights says{_fitted(group)}; no row and no code of theirs"
    )
    if group.overlap == "both":
        return (f"{trained}, and no entity.", *tied_learn(group))
    return (f"{trained}.", *_order_learn(group, party), *tied_learn(group))


def _fitted(group: GroupTerms) -> str:
    return ", and the two sums that its expansion is made of" if group.expand is not None and group.expand.fits else ""


def _opened(group: GroupTerms) -> str:
    return ", and the moments that its expansion is made of" if group.expand is not None and group.expand.fits else ""


def _order_learn(group: GroupTerms, party: str) -> Iterator[str]:
    """What a member learns where an order says who serves a shared entity, and what others learn of it."""
    seat = group.members.index(party)
    before, after = group.members[:seat], group.members[seat + 1 :]
    if before:
        hidden = "" if len(before) == 1 else ", and not which of them"
        yield f"It learns which of its own entities {' or '.join(before)} serves{hidden}; of no other entity anything."
    if after:
        others = f" or {' or '.join(before)}" if before else ""
        whose = f"{after[0]} learns which of its" if len(after) == 1 else f"{_all(after)} each learn which of their"
        yield f"{whose} own entities this party{others} serves."


def _all(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def group_cautions(agreement: Agreement, me: str) -> Iterator[Caution]:
    """What shows or risks more than it has to."""
    for group in agreement.groups:
        if me and me not in (*group.members, agreement.label.party):
            continue
        if group.rule != "sum":
            yield Caution("groups.rule", "the coordinator sees every member's update, from which rows can be read")
        usual = 2 * group.taking_part(len(group.members)) // 3 + 1
        if group.threshold < usual:
            yield Caution(
                "groups.threshold",
                f"sums open over {group.threshold} members, where {usual} are usual: fewer who collude learn the rest",
            )
        if group.overlap == "precedence" and (not me or me in group.members):
            yield Caution(
                "groups.overlap",
                "members learn which of their entities one before them serves, and leave these to it, in the order "
                + ", ".join(group.members),
            )
        if group.absent == "zeros":
            yield Caution(
                "groups.absent",
                "rows of entities that a member does not have are zeros, which scores can show",
            )
        yield from tied_cautions(agreement, group)
