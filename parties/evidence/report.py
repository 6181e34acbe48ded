"""``report.html`` of an evidence pack: the questions and their answers. The same parts give the same bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from parties.evidence.parts import Parts
from parties.evidence.questions import QUESTIONS

__all__ = ["render_report"]

_STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;background:#fff;margin:0 auto;max-width:60rem;padding:1.5rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.2rem;margin:2.2rem 0 .4rem;border-bottom:1px solid #e5e7eb}
h3{font-size:1rem;margin:1.2rem 0 .2rem}.quiet{color:#4b5563;font-size:.86rem;margin:.2rem 0}
ul{margin:.2rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere}@media print{li{break-inside:avoid}}
""".strip()


def render_report(parts: Parts) -> bytes:
    """The page as UTF-8 HTML: nothing is loaded from anywhere, and every text is escaped."""
    return "\n".join(_page(parts)).encode()


def _page(parts: Parts) -> Iterator[str]:
    title = f"Evidence on run {parts.about.run_id[:12]}"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
    yield f'<p class="quiet">Written by {escape(parts.about.writer)}, {escape(parts.about.made_at)}. A page by itself'
    yield "proves nothing: check the file that it came in with <code>entente evidence check FILE --roster"
    yield "roster.json</code>, which says what is proved and what is somebody's word.</p>"
    audience = ""
    for question in QUESTIONS:
        if question.audience != audience:
            audience = question.audience
            yield f"<h2>{escape(audience)} asks</h2>"
        answer = question.answer(parts)
        yield f"<h3>{question.number}. {escape(question.text)}</h3>"
        if answer.lines:
            yield "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in answer.lines) + "</ul>"
            yield f'<p class="quiet">From {escape(", ".join(answer.rests_on))}, as far as this pack has them.</p>'
        else:
            wanted = escape(", ".join(answer.rests_on))
            yield f'<p class="quiet">Not answered by this pack: it would be in {wanted}.</p>'
    yield "</body></html>"
