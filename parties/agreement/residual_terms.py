"""A residual label: which of its own columns a label party may neutralise it by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parties.agreement.document import Agreement

__all__ = ["check_residual"]


def check_residual(agreement: Agreement) -> None:
    """Raise ValueError where the label is neutralised by columns that its party does not bring."""
    own, named = agreement.party(agreement.label.party).columns, agreement.label.residual
    strange = [name for name in named if name not in own]
    if strange:
        raise ValueError(
            f"label.residual names {strange[0]!r}, which is no column of {agreement.label.party!r}: name some of "
            f"{', '.join(own) or 'its columns, of which it has none'}"
        )
    if len(set(named)) != len(named):
        raise ValueError("label.residual names a column twice: name each once")
    if named and agreement.static is not None:
        raise ValueError("label.residual neutralises period by period, and static data has none: leave it out")
