"""The text of an agreement as the page gets it: the very sentences that operators sign."""

from __future__ import annotations

from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.text import agreement_text
from parties.calls.views import TextSection

__all__ = ["caution_lines", "section_views"]


def section_views(agreement: Agreement) -> tuple[TextSection, ...]:
    """The text, by section."""
    return tuple(TextSection(title=part.title, lines=part.lines) for part in agreement_text(agreement))


def caution_lines(agreement: Agreement) -> tuple[str, ...]:
    """What anybody should look at twice, each with its term."""
    return tuple(f"{one.term}: {one.words}" for one in agreement_cautions(agreement))
