"""A party's statement as PDF: the same numbers as its HTML and CSV, on paper. The same statement gives the same bytes.

The fonts every reader has know Western European letters; any other is printed as a question mark, and the HTML
and CSV have it in full.
"""

from __future__ import annotations

import io
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from parties.ledger.statements import AccountStatement, Statement

__all__ = ["statement_pdf"]

_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=8, leading=10.5)
_SMALL = ParagraphStyle("small", parent=_TEXT, fontSize=6.5, leading=8, textColor=colors.HexColor("#555555"))
_NUMBER = ParagraphStyle("number", parent=_TEXT, alignment=2)
_BOLD = ParagraphStyle("bold", parent=_TEXT, fontName="Helvetica-Bold")
_BOLD_NUMBER = ParagraphStyle("bold number", parent=_BOLD, alignment=2)
_TITLE = ParagraphStyle("title", parent=_TEXT, fontName="Helvetica-Bold", fontSize=16, leading=20)
_HEADING = ParagraphStyle("heading", parent=_TEXT, fontName="Helvetica-Bold", fontSize=10, leading=14, spaceBefore=8)

_MARGIN = 15 * mm
_WIDTHS = [19 * mm, 83 * mm, 60 * mm, 24 * mm, 24 * mm, 26 * mm, 26 * mm]
_GRID = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
        ("LINEBELOW", (0, 1), (-1, -2), 0.25, colors.HexColor("#cccccc")),
        ("LEFTPADDING", (0, 0), (-1, -1), 2),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
)
_ACCOUNT = TableStyle([("LINEABOVE", (0, -1), (-1, -1), 0.8, colors.black)], parent=_GRID)


def statement_pdf(made: Statement, *, title: str = "Statement of account") -> bytes:
    """A4 pages, numbered, each with the party, the period and the ledger's hash."""
    period = f"{made.first:%Y-%m-%d} until {made.until:%Y-%m-%d} (UTC, end not included)"
    foot = f"{made.party}   {period}   journal entry {made.sequence}, ledger hash {made.digest}"
    said = f"Party <b>{_text(made.party)}</b>, {period}.<br/>Journal entry {made.sequence}, ledger hash {made.digest}."
    story: list[Any] = [
        Paragraph(_text(title), _TITLE),
        Spacer(1, 2 * mm),
        Paragraph(said + (f"<br/>Method: {_text(made.method)}." if made.method else ""), _TEXT),
    ]
    for account in made.accounts:
        story += _section(account)
    if made.runs:
        story.append(KeepTogether([Paragraph("Runs and their evidence", _HEADING), _evidence(made)]))
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=landscape(A4),
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN + 5 * mm,
        title=_plain(f"{title}: {made.party}"),
        author="Entente",
        invariant=1,
    )
    document.build(story, canvasmaker=lambda *a, **k: _Numbered(*a, foot=_plain(foot), **k))
    return buffer.getvalue()


class _Numbered(Canvas):  # type: ignore[misc]
    """Writes the footer once the number of pages is known."""

    def __init__(self, *arguments: Any, foot: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._foot = foot
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, 1):
            self.__dict__.update(page)
            self.setFont("Helvetica", 6.5)
            self.setFillColor(colors.HexColor("#555555"))
            self.drawString(_MARGIN, _MARGIN, self._foot)
            self.drawRightString(landscape(A4)[0] - _MARGIN, _MARGIN, f"page {number} of {len(self._pages)}")
            super().showPage()
        super().save()


def _section(account: AccountStatement) -> list[Any]:
    show = account.unit.format
    heads = ("Date", "Entry", "Run and evidence", "Posted", "Pending", "Posted balance", "Pending balance")
    rows: list[list[Any]] = [
        [Paragraph(head, _BOLD_NUMBER if position > 2 else _BOLD) for position, head in enumerate(heads)],
        _total("Opening balance", account, account.opening),
    ]
    for line in account.lines:
        transaction = line.entry.transaction
        numbers = (line.posted, line.pending, line.posted_after, line.pending_after)
        rows.append(
            [
                Paragraph(f"{transaction.timestamp:%Y-%m-%d}", _TEXT),
                [Paragraph(_text(transaction.narration), _TEXT), Paragraph(_text(transaction.id), _SMALL)],
                [Paragraph(_text(transaction.run_id), _SMALL), Paragraph(_text(transaction.evidence), _SMALL)],
                *(Paragraph(show(number), _NUMBER) for number in numbers),
            ]
        )
    rows.append(_total("Closing balance", account, account.closing))
    table = Table(rows, colWidths=_WIDTHS, repeatRows=1, style=_ACCOUNT, hAlign="LEFT")
    return [Paragraph(f"{_text(account.account)} ({_text(account.unit.code)})", _HEADING), table]


def _total(name: str, account: AccountStatement, balance: tuple[int, int]) -> list[Any]:
    show = account.unit.format
    return ["", Paragraph(name, _BOLD), "", "", "", *(Paragraph(show(amount), _BOLD_NUMBER) for amount in balance)]


def _evidence(made: Statement) -> Table:
    rows: list[list[Any]] = [[Paragraph(head, _BOLD) for head in ("Run", "Evidence", "Factor bundle")]]
    for run in made.runs:
        hashes = [Paragraph(_text(one), _SMALL) for one in run.evidence]
        rows.append([Paragraph(_text(run.run_id), _SMALL), hashes, Paragraph(_text(run.bundle), _SMALL)])
    return Table(rows, colWidths=[87 * mm] * 3, repeatRows=1, style=_GRID, hAlign="LEFT")


def _plain(text: str) -> str:
    """Text in the letters the standard fonts have."""
    return text.encode("cp1252", "replace").decode("cp1252")


def _text(text: str) -> str:
    return escape(_plain(text))
