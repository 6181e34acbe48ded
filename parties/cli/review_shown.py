"""What ``entente run review`` shows beside the agreement: this node's columns, its own answer, and what a run costs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from parties.cli.agreement_shown import show_all_to_sign, show_openings
from parties.errors import AgreementError, ConfigError, DataError, EntenteError
from parties.terminal.console import say, section, table

if TYPE_CHECKING:
    from pathlib import Path

    from parties.agreement.document import Agreement
    from parties.node.settings import NodeSettings
    from parties.proposing.measured_costs import Estimate

__all__ = ["show_cost", "show_review"]


def _relay_line(settings: NodeSettings) -> str:
    """By which way this node's messages travel, and what the coordinator sees of them."""
    seen = "the coordinator, which sees sizes and times of them and no content"
    return {
        "never": 'Messages go directly from node to node and no other way (transport.relay = "never").',
        "when_unreachable": f"Messages to a node that cannot be reached go through {seen}.",
        "always": f'All messages go through {seen} (transport.relay = "always").',
    }[settings.transport.relay]


def show_review(agreement: Agreement, settings: NodeSettings, home: Path) -> None:
    """All that is signed, what of ours is used, and whether our own limits allow it."""
    show_all_to_sign(agreement, settings, home)
    section("This node", [_relay_line(settings)])
    mine = agreement.party(settings.party.name)
    unused = [column for column in settings.party.output_columns if column not in mine.columns]
    table(
        "Your columns",
        ("column", "unit", "in this run"),
        (
            *((column, _unit(settings, column), "used, never sent") for column in mine.columns),
            *((column, _unit(settings, column), "not used") for column in unused),
        ),
    )
    show_openings(agreement, settings.limits.openings_per_row)
    _show_verdict(agreement, home)


def _show_verdict(agreement: Agreement, home: Path) -> None:
    """Whether this node's own checks let it sign, made once more, and what they found."""
    from parties.node.home import NodeHome
    from parties.node.policy import left_to_a_person
    from parties.node.readiness import check_ready

    node = NodeHome(home)
    openings = node.openings()
    try:
        ready = check_ready(agreement, node, openings, datetime.now(UTC))
    except (AgreementError, ConfigError, DataError) as error:
        section("This node's answer", [f"warning: it would refuse: {error}"])
        return
    finally:
        openings.close()
    lines = ["Within its standing limits; names, keys, legal entities and columns are as this node knows them."]
    lines += ready.lines
    if node.settings.approve == "automatic":
        lines += [
            f"Not signed without you: {reason}" for reason in left_to_a_person(agreement, node.settings, ready.own)
        ]
    section("This node's answer", lines)


def _unit(settings: NodeSettings, column: str) -> str:
    rules = settings.party.column_schema.get(column)
    return rules.unit if rules is not None else ""


def show_cost(agreement: Agreement, settings: NodeSettings, home: Path) -> None:
    """What the run would cost this machine, measured on the spot."""
    from parties.data.agreed_rows import rows_of
    from parties.proposing.measured_costs import estimate
    from parties.transport.reach import round_trip

    try:
        data = home / settings.data
        ids = rows_of(agreement).entities(settings.party, home / settings.queries, data, settings.label)
    except EntenteError as error:
        say(f"No preflight: {error}")
        return
    slowest: float | None = None
    unreachable = []
    for other in agreement.parties:
        if other.name != settings.party.name:
            took = round_trip(other.address)
            if took is None:
                unreachable.append(other.name)
            else:
                slowest = max(took, slowest or 0.0)
    cost = estimate(agreement, settings.party.name, len(ids), round_trip_seconds=slowest)
    _show_estimate(cost, len(ids))
    if agreement.daily is not None:
        _say_daily(agreement, len(ids))
    for name in unreachable:
        say(f"warning: {name}'s node does not answer from here")


def _say_daily(agreement: Agreement, entities: int) -> None:
    """What daily use opens and sends beside the run, at most."""
    from parties.agreement.sealed_terms import sealed_members
    from parties.proposing.sealed_costs import SealedCost, add_scored
    from vfl.models.sealed.opens import opened_bits
    from vfl.terms import SealedModel

    daily, model = agreement.daily, agreement.model
    assert daily is not None
    assert isinstance(model, SealedModel)
    cost = SealedCost()
    add_scored(cost, sealed_members(agreement), model, entities)
    sent = sum(cost.sent.values()) / 1e6
    bits = opened_bits(daily.scores * entities, predictions=daily.scores)
    say(
        f"Daily use after it: up to {daily.scores} sessions of {entities} scores, {opened_bits(1)} bits each, in all "
        f"{bits / 8e3:,.0f} kB of scores; {sent:,.0f} MB between all parties a session."
    )


def _show_estimate(cost: Estimate, entities: int) -> None:
    link = "-" if cost.round_trip_seconds is None else f"{cost.waiting_seconds:,.0f} s"
    table(
        f"Preflight on this machine, if all {entities} of your entities are common",
        ("what", ">at most"),
        (
            ("rows", f"{cost.rows:,}"),
            ("steps", f"{cost.steps:,}"),
            ("computing, both sides on one core", f"{cost.seconds:,.0f} s"),
            ("waiting for the slowest link", link),
            ("sent", f"{cost.bytes_sent / 1e6:,.0f} MB"),
            ("received", f"{cost.bytes_received / 1e6:,.0f} MB"),
            ("memory", f"{cost.memory_mb:,.0f} MiB"),
        ),
    )
