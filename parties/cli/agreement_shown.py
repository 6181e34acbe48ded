"""An agreement on the terminal: the text that everybody reads, what to look at twice, and what is new in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parties.plurals import things
from parties.terminal.console import pasted, say, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from parties.agreement.document import Agreement
    from parties.node.settings import NodeSettings
    from vfl.models.disclosure import Caution

__all__ = ["show_agreement", "show_all_to_sign", "show_in_short", "show_openings", "show_width_and_passes"]


def show_agreement(agreement: Agreement, me: str = "", own: Sequence[Caution] = ()) -> None:
    """The text of the agreement, and what ``me``, or anybody, should look at twice; ``own``: for what it brings."""
    from parties.agreement.cautions import agreement_cautions
    from parties.agreement.text import agreement_text

    for part in agreement_text(agreement):
        section(part.title, part.lines)
    cautions = [f"WARNING {one.term}: {one.words}" for one in (*agreement_cautions(agreement, me), *own)]
    section("Look twice", cautions or ["Nothing lowers protection or pay below what is usual."])


def show_all_to_sign(agreement: Agreement, settings: NodeSettings, home: Path) -> None:
    """All that the operator of the node in ``home`` signs: the text, every term, and what is not as it was."""
    from parties.agreement.text import terms_section
    from parties.node.own_rows import kept_own_rows, own_cautions, own_lines

    own = kept_own_rows(home / "runs" / agreement.run_id)
    show_agreement(agreement, settings.party.name, own_cautions(own))
    if own is not None:
        section("This party's rows", own_lines(own, agreement, settings.limits))
    if settings.label is not None:
        section("This party's labels", [_universe(agreement, settings, home)])
    whole = terms_section(agreement)
    section(whole.title, whole.lines)
    _show_new(agreement, settings, home)


def show_in_short(agreement: Agreement, settings: NodeSettings, home: Path) -> None:
    """What is signed, in a few lines, for who has read it; and what is not as it was."""
    from parties.agreement.cautions import agreement_cautions
    from parties.node.own_rows import kept_own_rows, own_cautions

    own = own_cautions(kept_own_rows(home / "runs" / agreement.run_id))
    twice = [one.term for one in (*agreement_cautions(agreement, settings.party.name), *own)]
    first, last, number = agreement.periods[0], agreement.periods[-1], things(len(agreement.periods), "periods")
    over = "static data, one row an entity" if agreement.calendar is None else f"{first} to {last}, {number}"
    say(
        f"Run {agreement.run_id}",
        f"Purpose: {agreement.purpose or 'none is named'}",
        f"Over: {over}",
        f"Model: {agreement.model.kind}",
        f"Look twice: {', '.join(dict.fromkeys(twice)) or 'nothing lowers protection or pay below what is usual'}",
    )
    _show_new(agreement, settings, home)
    say("", f"Read it whole: entente run review {agreement.run_id[:12]} --home {pasted(home)}")


def _show_new(agreement: Agreement, settings: NodeSettings, home: Path) -> None:
    """What is not as in the last agreement with the same parties."""
    from parties.agreement.cautions import weaker_than_before
    from parties.agreement.every_term import differences
    from parties.node.last_signed import last_signed

    before = last_signed(home, settings, agreement)
    if before is None:
        section("Compared with the last one", ["This node has signed no agreement with these parties before."])
        return
    worse = [f"WARNING {line}" for line in weaker_than_before(before, agreement)]
    changed = differences(before, agreement) or ("Every term is as it was.",)
    section(f"Compared with run {before.run_id[:12]}, signed before", [*worse, *changed])


def _universe(agreement: Agreement, settings: NodeSettings, home: Path) -> str:
    """Which of the label party's rows would be left out."""
    from parties.data.agreed_rows import rows_of
    from parties.data.calendar import calendar_of
    from parties.data.static_check import parts_line
    from parties.data.universe import label_universe_line
    from parties.errors import EntenteError

    party, queries, data = settings.party, home / settings.queries, home / settings.data
    assert settings.label is not None
    try:
        entities = rows_of(agreement).entities(party, queries, data, settings.label)
        if agreement.static is not None:
            found = parts_line(party, queries, data, agreement.static, settings.label)
        else:
            found = label_universe_line(party, settings.label, queries, data, calendar_of(agreement.dated), entities)
    except EntenteError as error:
        return f"WARNING they cannot be read now: {error}"
    return f"If all {len(entities):,} of your entities are common, {found}."


def show_openings(agreement: Agreement, standing: int) -> None:
    """How often a row opens, and what may open of it. standing: this node's own limit."""
    from vfl.models.screen.opens import SCREEN_BITS
    from vfl.models.sealed.scales import SCORE_BITS
    from vfl.terms import AnchoredModel, FederatedModel, RidgeModel, ScreenModel

    model = agreement.model
    if isinstance(model, ScreenModel):
        title, lines = "Label vectors of a row", [
            ("this screen's", 1),
            ("bits of a sum over a period's rows", SCREEN_BITS),
            ("agreed limit over all runs, counted by each feature party", agreement.row_limit),
        ]  # fmt: skip
    elif isinstance(model, FederatedModel):
        title, lines = "Openings of a row", [
            ("rows, scores and labels that open", 0),
            ("fewest members of a sum that opens", model.threshold),
        ]  # fmt: skip
    elif isinstance(model, AnchoredModel):
        title, lines = "Scores of a row", [
            ("this run's prediction", agreement.opened_scores),
            ("bits of a score", SCORE_BITS),
            (f"agreed limit over all runs, counted by {model.anchor}", agreement.row_limit),
        ]  # fmt: skip
    else:
        ridge = isinstance(model, RidgeModel)
        title, lines = "Openings of a row", [
            ("predictions", 1),
            (
                "entering the moments of training, sums over many rows" if ridge else "training passes",
                min(model.epochs, agreement.openings_left - 1),
            ),
            ("for the search's trials of the source layer", agreement.search_openings),
            ("for contributions", max(agreement.needed_openings - 1 - model.epochs, 0)),
            ("agreed limit", agreement.row_limit),
        ]  # fmt: skip
    table(title, ("what", ">at most"), [*lines, ("this node's standing limit", standing)])


def show_width_and_passes(agreement: Agreement) -> None:
    """Which other widths and passes the agreed share of a row's features would allow, for whoever proposes."""
    from parties.proposing.width_and_passes import width_and_passes

    rooms = width_and_passes(agreement)
    if not rooms:
        return
    table(
        f"What openings.largest_fraction = {agreement.openings.largest_fraction:g} of {agreement.counted_features} "
        "features has room for",
        (">model.embedding_width", ">openings.limit_per_row", ">model.epochs, at most", ">bits of a row told", ""),
        (
            (room.width, room.limit, room.passes, f"{room.bits:.0f}", "this run's width" if room.agreed else "")
            for room in rooms
        ),
    )
    say("Each node holds the bits against what its own columns hold before it signs.")
