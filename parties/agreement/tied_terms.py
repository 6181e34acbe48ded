"""Terms of a group with a tied head: its members' rows add up under one set of weights of a sealed network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from parties.names import entity_key
from vfl.models.disclosure import Caution
from vfl.models.sealed.messages import FEWEST_TIED
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import AnchoredModel, SealedModel

if TYPE_CHECKING:
    from parties.agreement.document import Agreement
    from parties.agreement.group_terms import GroupTerms

__all__ = ["check_tied", "is_tied", "tied_cautions", "tied_groups", "tied_learn", "tied_line"]


def tied_groups(agreement: Agreement) -> tuple[tuple[str, ...], ...]:
    """Members of each group that has one head."""
    return tuple(group.members for group in agreement.groups if group.head == "tied")


def is_tied(agreement: Agreement, party: str) -> bool:
    """Whether a party shares its head with other members of its group."""
    return any(party in group for group in tied_groups(agreement))


def check_tied(agreement: Agreement, group: GroupTerms) -> None:
    """Raise ValueError where the members of this group cannot have one head, or may not."""
    if group.head != "tied":
        return
    here, model, label = f"group {group.name}", agreement.model, agreement.label.party
    if not isinstance(model, SealedModel):
        raise ValueError(
            f'{here}: one head for all members is of a sealed network alone: set model.kind = "sealed", or '
            'group.head = "own"'
        )
    if group.absent != "zeros":
        raise ValueError(
            f"{here}: members' rows add up under one head, and rows drawn for absent entities would be noise in each "
            'other\'s: set group.absent = "zeros", or group.head = "own"'
        )
    _check_anchor(agreement, group)
    kin = sorted(set(group.members) & agreement.kin)
    if kin:
        raise ValueError(
            f"{kin[0]} belongs to the legal entity of {label}, and the two together have every weight of {here} and "
            'the sum of the others\' gradients: leave it out of group.members, or set group.head = "own"'
        )
    entities = {entity_key(agreement.party(name).legal_entity) or name for name in group.members}
    if len(entities) < FEWEST_TIED:
        raise ValueError(
            f"{here}: its members are of {len(entities)} legal entities, and under one head each of two would read the "
            'other\'s gradient off the sum: add a member of another entity, or set group.head = "own"'
        )
    for name in group.members:
        party = agreement.party(name)
        made = [one for one in party.columns if party.makes(one) and one not in group.encoder.output_columns]
        if made:
            raise ValueError(
                f"{here}: {name} makes {made[0]} of its columns, and one head takes the columns that it has and the "
                "group's codes alone: drop [party.expand], [group.expand] and its terminals, or set group.head = "
                '"own"'
            )
    if len({agreement.party(name).text for name in group.members}) > 1:
        raise ValueError(
            f"{here}: its members make columns of texts by different settings, which would mean different things under "
            'one head: give them the same [party.text], or set group.head = "own"'
        )


def _check_anchor(agreement: Agreement, group: GroupTerms) -> None:
    model = agreement.model
    assert isinstance(model, AnchoredModel)
    if model.anchor not in group.members:
        return
    tied = {name for members in tied_groups(agreement) for name in members}
    outside = [party.name for party in agreement.features if party.name not in tied | agreement.kin]
    remedy = (
        f"set model.anchor to a party outside it, such as {outside[0]}"
        if outside
        else "invite a feature party with a column of its own to be it, or leave one member out of group.members"
    )
    raise ValueError(
        f"group {group.name} has one head, and model.anchor {model.anchor} is a member: as anchor it holds a share of "
        f'every other member\'s gradient. {remedy[0].upper()}{remedy[1:]}, or set group.head = "own"'
    )


def tied_line(agreement: Agreement, group: GroupTerms) -> str:
    """What one head means, and what it shows; who serves a shared entity follows."""
    if group.head != "tied":
        return "Its members are feature parties like others, each with weights of its own: "
    label = agreement.label.party
    return (
        "Its members have ONE HEAD: their rows add up under the same weights, as those of one party would. None of "
        "them whitens its columns. Every member holds the same share of these weights. "
        f"WARNING: {label} together with any one member has the group's weights at every step, and so the sum of the "
        "other members' gradients: with three members, or where few others have rows in a step, that says much of one. "
        f"If {label} cheats, the two read rows of every other member exactly, as many numbers in every step as the "
        f"group has weights, and no limit counts them. Without {label}, or without a member, none who follow the "
        "protocol have the group's weights. A member that cheats sets them; where it receives the factor it reads "
        f"{SCORE_BITS} bits a score of any column of the other members. {group.members[0]} passes the weights on, and "
        "all compare what they hold before every step: a member that tells others different ones and is helped by no "
        "other member is found. Each member is valued and paid by itself: a "
        "coalition has its members' rows alone. Beside that, "
    )


def tied_learn(group: GroupTerms) -> tuple[str, ...]:
    """What a member learns because of it."""
    if group.head != "tied":
        return ()
    return (
        f"It holds the share of group {group.name} in the common weights, as every member does, which says nothing "
        "without the label party's; the first member in agreed order also learns the sum of all members' shares of a "
        "gradient, single ones only under masks.",
    )


def tied_cautions(agreement: Agreement, group: GroupTerms) -> Iterator[Caution]:
    """What shows more than heads of each member's own."""
    if group.head != "tied":
        return
    yield Caution(
        "groups.head",
        "the label party together with one member has the group's weights, and the sum of the others' gradients; if it "
        "cheats, the two read rows of every other member exactly",
    )
    takers = [name for name in group.members if name in agreement.recipients]
    if takers:
        yield Caution(
            "recipients",
            f"{', '.join(takers)} of group {group.name}, which has one head, {'get' if len(takers) > 1 else 'gets'} "
            f"the factor: a member that cheats and gets it reads {SCORE_BITS} bits a score of any column of the others",
        )
