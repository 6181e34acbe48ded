"""Proposing and answering estimates of how many entities members share, before any run is signed."""

from __future__ import annotations

import math
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from parties.cli.help_group import HelpGroup
from parties.errors import ConfigError
from parties.plurals import things
from parties.terminal.console import pasted, say, section, table

if TYPE_CHECKING:
    from parties.agreement.overlap import OverlapState
    from parties.node.home import NodeHome

__all__ = ["app", "overlap_answer", "overlap_propose", "overlap_show"]

app = typer.Typer(
    cls=HelpGroup, help="Estimate how many entities members share, before a run is signed.", no_args_is_help=True
)

Home = Annotated[Path, typer.Option("--home", help="Folder of the party's node.")]
Which = Annotated[str, typer.Argument(metavar="OVERLAP", help="Its id, or the first characters of it.")]
Who = Annotated[str, typer.Option("--as", metavar="NAME", help="Who you are, where node.toml names approvers.")]


@app.command("propose")
def overlap_propose(
    home: Home,
    others: Annotated[list[str], typer.Option("--with", metavar="MEMBER", help="Who shall take part; repeat it.")],
    epsilon: Annotated[float, typer.Option("--epsilon", help="What the estimate may tell of an entity.")] = 1.0,
    by: Annotated[Literal["all", "year", "sector"], typer.Option("--by", help="One number, or one a part.")] = "all",
    part: Annotated[list[str] | None, typer.Option("--part", help="A year or a sector; repeat it.")] = None,
    largest: Annotated[int, typer.Option("--largest", help="Most entities of a member; 0: room for twice ours.")] = 0,
    purpose: Annotated[str, typer.Option("--purpose", help="What it is for.")] = "",
    days: Annotated[int, typer.Option("--days", min=1, max=30, help="How long it may be answered.")] = 7,
    by_whom: Who = "",
) -> None:
    """Propose an estimate. The node signs and sends it; its epsilon counts against the budget with each member."""
    from pydantic import ValidationError

    from parties.agreement.overlap import OverlapProposal
    from parties.node.decisions import decide
    from parties.node.home import NodeHome
    from parties.node.overlap_sets import overlap_sets
    from parties.node.overlaps import check_budget, propose_overlap

    place, now = NodeHome(home), datetime.now(UTC).replace(microsecond=0)
    me = place.identity.name
    strangers = sorted(set(others) - set(place.roster))
    if strangers:
        raise ConfigError(
            f"{', '.join(strangers)} are not in this node's roster; members are {', '.join(place.roster)}"
        )
    given = {
        "members": (me, *others), "epsilon": epsilon, "by": by, "parts": tuple(part or ()), "purpose": purpose,
        "largest_set": largest or 1, "proposed_at": now, "expires_at": now + timedelta(days=days),
        "nonce": secrets.token_hex(16),
    }  # fmt: skip
    try:
        proposal = OverlapProposal.model_validate(given)
        most = max((len(ids) for _, ids in overlap_sets(proposal, place.settings, place.folder)), default=0)
        if largest == 0:
            # a power of two, so that the proposal tells of this party's set only its order of size
            room = 2 ** math.ceil(math.log2(max(2 * most, 64)))
            proposal = OverlapProposal.model_validate({**given, "largest_set": room})
    except ValidationError as error:
        raise ConfigError(f"the proposal cannot be: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    if most > proposal.largest_set:
        raise ConfigError(f"this party has {things(most, 'entities')}, above --largest {largest}: name a larger one")
    check_budget(place.folder, proposal, me, place.settings.limits.overlap_epsilon)
    folder = propose_overlap(place.folder, proposal)
    decide(folder, place.settings, "approve", by=by_whom, what="overlap")
    _show_text(place, _state_of(folder))
    say(f"Overlap {folder.name[:12]} is proposed; the node signs and sends it. Others answer it with",
        f"entente overlap answer {folder.name[:12]} --home DIR")  # fmt: skip


def _state_of(folder: Path) -> OverlapState:
    """What is known of the overlap in ``folder``."""
    from parties.node.overlaps import one_overlap

    return one_overlap(folder.parents[1], folder.name)[1]


@app.command("answer")
def overlap_answer(
    overlap: Which,
    home: Home,
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked.")] = False,
    reject: Annotated[str, typer.Option("--reject", metavar="WHY", help="Refuse; every member reads the reason.")] = "",
    by: Who = "",
) -> None:
    """Read a proposal, and agree or refuse. When all have agreed the nodes carry it out by themselves."""
    from parties.node.decisions import decide
    from parties.node.home import NodeHome
    from parties.node.overlaps import check_budget, one_overlap

    place = NodeHome(home)
    folder, state = one_overlap(place.folder, overlap)
    _show_text(place, state)
    if reject:
        decide(folder, place.settings, "reject", by=by, why=reject[:2000], what="overlap")
        say(f"Overlap {folder.name[:12]} is refused; the node reports it.")
        return
    check_budget(place.folder, state.proposal, place.identity.name, place.settings.limits.overlap_epsilon)
    if not yes and not typer.confirm("Agree to this estimate?", default=False):
        say("Nothing was decided: it waits.")
        return
    _, outcome = decide(folder, place.settings, "approve", by=by, what="overlap")
    told = "the node signs it" if outcome is not None else "more people must approve before the node signs"
    say(f"Overlap {folder.name[:12]}: {told}. The estimate shows with entente overlap show --home {pasted(home)}")


@app.command("show")
def overlap_show(home: Home) -> None:
    """Every overlap that this node knows of, what came of it, and what is left of the budget by counterparty."""
    from parties.node.home import NodeHome
    from parties.node.overlaps import known_overlaps, own_estimate, spent

    place = NodeHome(home)
    known = known_overlaps(place.folder)
    if not known:
        say("No overlap was proposed here.")
    for folder, state in known:
        proposal = state.proposal
        section(f"Overlap {folder.name[:12]}: {state.status}", [f"{', '.join(proposal.members)}; {proposal.purpose}"])
        for name, why in {**state.refused, **state.failed}.items():
            say(f"{name}: {why}")
        own = own_estimate(folder)
        if own and state.found and own != state.found:
            say("The coordinator shows other numbers than the members told this node; below are this node's.")
        rows = [
            (
                one.part or "all",
                group.replace("+", ", "),
                f"{max(count, 0):.0f}",
                f"{proposal.terms.deviation(group.count('+') + 1):.0f}",
            )
            for one in own or state.found
            for group, count in one.together.items()
        ]
        if rows:
            table("", ("of", "held by all of", ">about", ">give or take"), rows)
    used, most = spent(place.folder, place.identity.name, datetime.now(UTC)), place.settings.limits.overlap_epsilon
    for name, epsilon in sorted(used.items()):
        say(f"With {name}: epsilon {epsilon:g} of {most:g} is spent (365 days).")


def _show_text(place: NodeHome, state: OverlapState) -> None:
    from parties.agreement.overlap import overlap_lines
    from parties.node.overlaps import spent

    me = place.identity.name
    used = spent(place.folder, me, datetime.now(UTC), state.proposal.overlap_id)
    concern = {name: used.get(name, 0.0) for name in state.proposal.members if name != me}
    section(f"Overlap {state.proposal.overlap_id[:12]}", overlap_lines(state.proposal, concern))
