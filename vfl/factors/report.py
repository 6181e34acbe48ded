"""``report.html``: one page that a portfolio manager reads and a quant can check. Nothing is loaded from anywhere.

Every text is escaped, there is no script, and the same findings give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal

from vfl.factors.charts import area_chart, band_chart, bar_chart, line_chart, measured_text
from vfl.factors.findings import Findings, Number, Series
from vfl.factors.ic_by_year import by_year, fall_of_the_sum
from vfl.factors.section_verdicts import section_verdict

__all__ = ["Drawn", "chart_of", "charted", "drawn", "render_report", "section_titles", "verdict"]

_TITLES: dict[str, str] = {
    "ic": "Information coefficient",
    "test_rows": "Test rows",
    "label_party_alone": "The label party alone",
    "mean_label": "Scores of the mean label",
    "by_class": "By class",
    "calibration": "Calibration",
    "horizons": "Horizons",
    "uplift": "Uplift of joining",
    "decay": "Decay",
    "quantiles": "Quantiles",
    "stability": "Stability and turnover",
    "long_short": "Long-short book after costs",
    "capacity": "Capacity",
    "target_book": "The book of target weights",
    "liquidity": "By liquidity",
    "neutralised": "Neutralised",
    "library": "Known factors",
    "significance": "Strength of the evidence",
    "search": "What the search is worth",
    "contribution": "Contributions",
    "placebo": "Placebos: information or identity",
    "look_ahead": "Look-ahead",
    "live": "Live",
}

_CHARTS: tuple[tuple[str, str, str, Callable[[str, Series], str]], ...] = (
    ("calibration", "reliability", "Share of label 1 by mean score of a tenth", bar_chart),
    ("calibration", "right_rows", "Share of right rows by their class's share, in tenths", bar_chart),
    ("ic", "cumulative_rank_ic", "Cumulative rank IC", line_chart),
    ("ic", "rank_ic", "Rank IC by period", bar_chart),
    ("ic", "rank_ic_fall", "Fall of the cumulative rank IC from its peak", area_chart),
    ("uplift", "uplift", "Cumulative rank IC over the own factor", line_chart),
    ("decay", "decay", "Rank IC by delay of the label, in periods", bar_chart),
    ("quantiles", "quantiles", "Mean label by quantile of the score", bar_chart),
    ("stability", "turnover", "Turnover", line_chart),
    ("stability", "rank_autocorrelation", "Rank autocorrelation", line_chart),
    ("stability", "coverage", "Coverage by period", line_chart),
    ("long_short", "net_wealth", "Long-short return after costs", line_chart),
    ("long_short", "drawdown", "Drawdown after costs", area_chart),
    ("capacity", "capacity", "Net return per year by capital", line_chart),
    ("target_book", "target_wealth", "Return of the target weights after costs", line_chart),
    ("target_book", "target_turnover", "Value traded by period", line_chart),
    ("liquidity", "liquidity_return", "Return after costs by fifth of value traded", bar_chart),
    ("neutralised", "neutralised", "Rank IC after neutralising", bar_chart),
    ("library", "library", "Correlation with known factors", bar_chart),
    ("library", "crowding", "Share that known signals explain, by period", line_chart),
)

_TILES: tuple[tuple[str, str, str], ...] = (
    ("ic", "rank_ic", "rank IC"),
    ("ic", "rank_ic_t", "Newey-West t"),
    ("test_rows", "accuracy", "accuracy"),
    ("test_rows", "macro_auc", "macro AUC"),
    ("test_rows", "auc", "AUC"),
    ("test_rows", "log_loss", "log loss"),
    ("test_rows", "brier", "Brier score"),
    ("test_rows", "r2", "R2"),
    ("test_rows", "rank_correlation", "rank correlation"),
    ("uplift", "accuracy_difference", "accuracy over own"),
    ("uplift", "auc_difference", "AUC over own"),
    ("uplift", "r2_difference", "R2 over own"),
    ("uplift", "rank_ic_difference", "uplift over own"),
    ("uplift", "rank_ic_difference_t", "t of the uplift"),
    ("search", "deflated_sharpe", "deflated Sharpe"),
    ("search", "n_trials", "trials counted"),
    ("stability", "turnover", "turnover"),
    ("long_short", "break_even_cost", "break-even cost, bp"),
)

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;background:#fff;margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem;border-bottom:1px solid #e5e7eb}
h3{font-size:1rem;margin:1rem 0 .1rem}.quiet{color:#4b5563;font-size:.86rem;margin:.1rem 0}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}
.tile{border:1px solid #e5e7eb;border-radius:.4rem;padding:.5rem .8rem;min-width:7.2rem}
.tile b{display:block;font-size:1.3rem;font-variant-numeric:tabular-nums}.tile span{color:#4b5563;font-size:.82rem}
.warn{border-left:.35rem solid #d55e00;background:#fff5ee;padding:.5rem .8rem;margin:.5rem 0}
.fine{border-left:.35rem solid #009e73;background:#f0faf6;padding:.5rem .8rem;margin:.5rem 0}
table{border-collapse:collapse;width:100%;font-size:.86rem}th,td{text-align:left;padding:.2rem .5rem;vertical-align:top}
th{border-bottom:1px solid #9ca3af}td{border-bottom:1px solid #f3f4f6}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}svg{width:100%;height:auto;display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(30rem,100%),1fr));gap:.4rem 2rem}
figure{margin:.2rem 0 .6rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:.88rem}
dt{color:#4b5563}dd{margin:0;overflow-wrap:anywhere}summary{cursor:pointer;color:#0072b2}
caption{text-align:left;font-weight:600;padding:.6rem .5rem .2rem}.verdict{font-weight:600;margin:.3rem 0}
@media (prefers-color-scheme:dark){
body{color:#e8edf2;background:#0e1419}h2,.tile{border-color:#33424f}.quiet,.tile span,dt{color:#a9b6c2}
th{border-color:#5b6b79}td{border-color:#22303b}summary{color:#7cc7f0}.warn{background:#33200f}.fine{background:#0d2a20}
svg .ground{fill:#0e1419}svg .ink{fill:#d3dbe2}svg .unit{fill:#a9b6c2}svg .grid{stroke:#24313c}svg .zero{stroke:#7b8894}
svg .reach{stroke:#d3dbe2}
}
@media print{figure,tr{break-inside:avoid}}
""".strip()


@dataclass(frozen=True)
class Drawn:
    """A series that can be drawn: where, what it is called, and how."""

    section: str
    key: str
    title: str
    kind: Literal["line", "bar", "band", "area"]


def render_report(title: str, facts: Mapping[str, str], findings: Findings) -> bytes:
    """The page as UTF-8 HTML. facts: what the factor is, in the order to show it."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="quiet">{escape(verdict(findings))} Every number below says what it is and what it rests on.</p>',
        _tiles(findings),
        _warnings(findings),
        "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>",
    ]
    for section, heading in section_titles(findings).items():
        parts.append(f"<h2>{escape(heading)}</h2>")
        if said := section_verdict(section, findings.numbers[section]):
            parts.append(f'<p class="verdict">{escape(said)}</p>')
        figures = [
            f"<figure><h3>{escape(name)}</h3>{svg}"
            f'<figcaption class="quiet">{escape(series.definition)}</figcaption></figure>'
            for where, key, name, _ in _CHARTS
            if where == section and (series := _series(findings, key)) and (svg := chart_of(findings, key))
        ]
        beside = _values(findings.numbers[section]) if len(figures) % 2 or not figures else ""
        parts.append(f'<div class="charts">{"".join(figures)}{beside}</div>')
        parts += [_years(findings)] if section == "ic" else []
        parts.append(_table(findings.numbers[section]))
    parts.append(_left_out(findings))
    parts.append("</body></html>\n")
    return "".join(parts).encode("utf-8")


def section_titles(findings: Findings) -> dict[str, str]:
    """The sections that hold numbers, in the order to read them, with their headings."""
    known = {name: title for name, title in _TITLES.items() if name in findings.numbers}
    return known | {name: name.replace("_", " ") for name in findings.numbers if name not in known}


def charted(findings: Findings) -> tuple[str, ...]:
    """The series that :func:`chart_of` can draw of these findings, in the report's order."""
    return tuple(key for _, key, _, _ in _CHARTS if chart_of(findings, key))


def drawn(findings: Findings) -> tuple[Drawn, ...]:
    """The series of these findings that can be drawn, for another page than this one, in the report's order."""
    kinds: dict[Callable[[str, Series], str], Literal["line", "bar", "area"]] = {
        line_chart: "line",
        bar_chart: "bar",
        area_chart: "area",
    }
    return tuple(
        Drawn(section, key, title, "band" if key == "rank_ic" else kinds[draw])
        for section, key, title, draw in _CHARTS
        if key in findings.series and chart_of(findings, key)
    )


def chart_of(findings: Findings, key: str) -> str:
    """The chart of one series as SVG text, "" where the findings have none or nothing in it is finite."""
    series = _series(findings, key)
    if series is None or not any(math.isfinite(v) for v in series.y):
        return ""
    if key == "rank_ic":
        return band_chart("Rank IC by period", series, findings.value("ic", "rank_ic"))
    name, draw = next((name, draw) for _, known, name, draw in _CHARTS if known == key)
    return draw(name, series)


def _series(findings: Findings, key: str) -> Series | None:
    """A series of the findings, or one that follows from them."""
    if key == "rank_ic_fall":
        known = findings.series.get("rank_ic")
        return None if known is None else fall_of_the_sum(known)
    return findings.series.get(key)


def _years(findings: Findings) -> str:
    """The rank IC year by year, where there is more than one."""
    known = findings.series.get("rank_ic")
    years = by_year(known) if known is not None else ()
    if len(years) < 2:
        return ""
    rows = "".join(
        f'<tr><td>{escape(one.year)}</td><td class="n">{measured_text(one.mean, "correlation")}</td>'
        f'<td class="n">{measured_text(one.positive, "share")}</td><td class="n">{one.n}</td></tr>'
        for one in years
    )
    return (
        '<table><caption>By year</caption><thead><tr><th>year</th><th class="n">mean rank IC</th>'
        f'<th class="n">periods above zero</th><th class="n">periods</th></tr></thead><tbody>{rows}</tbody></table>'
    )


_FIRST = {"auc": "AUC", "accuracy": "Accuracy", "r2": "R2"}
"""The measure of static data that stands for the others, as people write it."""


def verdict(findings: Findings) -> str:
    """The numbers that decide, in a sentence or two: what joining was worth, and how good the factor was."""
    if "test_rows" in findings.numbers:
        measured = findings.numbers["test_rows"]
        name = next(name for name in (*_FIRST, *measured) if name in measured)
        number = measured[name]
        where = f"on {number.n:,} test rows, whose labels entered nothing."
        return f"{_FIRST.get(name, name)} {_said(number)} {where}"
    return " ".join(_deciding(findings.numbers)) or "No information coefficient could be computed."


def _deciding(numbers: Mapping[str, Mapping[str, Number]]) -> Iterator[str]:
    known, book = numbers.get("library", {}), numbers.get("target_book")
    if "rank_ic_difference" in numbers.get("uplift", {}):
        gain, sure = (numbers["uplift"][f"rank_ic_difference{end}"] for end in ("", "_t"))
        yield f"Uplift of joining {_said(gain)}, t {_said(sure)}."
    if "ic" in numbers:
        mean, t = numbers["ic"]["rank_ic"], numbers["ic"]["rank_ic_t"]
        yield f"Mean rank IC {_said(mean)} over {mean.n} periods, Newey-West t {_said(t)}."
        return
    if "live" in numbers and numbers["live"]["rank_ic"].n:
        mean, low, high = (numbers["live"][name] for name in ("rank_ic", "expected_low", "expected_high"))
        yield f"Live mean rank IC {_said(mean)} over {mean.n} periods, expected {_said(low)} to {_said(high)}."
    if "r_squared" in known:
        left = known.get("rank_ic_left")
        yield f"Known signals explain {_said(known['r_squared'])} of the score's variance."
        if left is not None:
            yield f"They leave a mean rank IC of {_said(left)}."
    if book is not None:
        sharpe = book.get("annual_sharpe")
        earned = "" if sharpe is None else f"; annual Sharpe ratio after costs {_said(sharpe)}"
        yield f"{_said(book['names'])} positions, {_said(book['turnover'])} of capital traded a period{earned}."


def _said(number: Number) -> str:
    return measured_text(number.value, number.unit)


def _tiles(findings: Findings) -> str:
    made = []
    for section, name, text in _TILES:
        number = findings.numbers.get(section, {}).get(name)
        if number is not None:
            made.append(
                f'<div class="tile" title="{escape(number.explained)}"><b>{escape(_said(number))}</b>'
                f"<span>{escape(text)}</span></div>"
            )
    return f'<div class="tiles">{"".join(made)}</div>'


def _warnings(findings: Findings) -> str:
    if not findings.warnings:
        return '<p class="fine">No check raised a warning. See at the end what could not be checked.</p>'
    return "".join(f'<p class="warn"><b>{escape(w.name)}</b>: {escape(w.text)}</p>' for w in findings.warnings)


def _values(numbers: Mapping[str, Number]) -> str:
    """The values alone, to stand beside a chart; the ends of intervals are in the long table."""
    rows = "".join(
        f'<tr title="{escape(number.explained)}"><td>{escape(name.replace("_", " "))}</td>'
        f'<td class="n">{escape(_said(number))}</td><td>{escape(number.unit)}</td></tr>'
        for name, number in numbers.items()
        if not name.endswith(("_low", "_high"))
    )
    return f"<div><table><tbody>{rows}</tbody></table></div>"


def _table(numbers: Mapping[str, Number]) -> str:
    rows = "".join(
        f'<tr><td>{escape(name.replace("_", " "))}</td><td class="n">{escape(_said(number))}</td>'
        f'<td>{escape(number.unit)}</td><td class="n">{number.n}</td><td>{escape(number.explained)}</td></tr>'
        for name, number in numbers.items()
    )
    count = "1 number" if len(numbers) == 1 else f"{len(numbers)} numbers"
    return (
        f'<details><summary>{count} in full</summary><table><thead><tr><th>number</th><th class="n">value</th>'
        '<th>unit</th><th class="n">n</th><th>definition</th></tr></thead><tbody>'
        f"{rows}</tbody></table></details>"
    )


def _left_out(findings: Findings) -> str:
    if not findings.left_out:
        return "<h2>Left out</h2><p>Nothing: every check was made.</p>"
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(reason)}</td></tr>"
        for name, reason in findings.left_out.items()
    )
    return f"<h2>Left out</h2><table><thead><tr><th>check</th><th>why</th></tr></thead><tbody>{rows}</tbody></table>"
