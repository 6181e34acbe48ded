"""Charts as SVG text: no library, no script, no font file, the same bytes for the same series.

Colours are told apart by the colour-blind (Okabe and Ito, 2008), and no meaning rests on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from vfl.factors.findings import Series

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "area_chart",
    "band_chart",
    "bar_chart",
    "line_chart",
    "measured_text",
    "number_text",
]

BLUE = "#0072b2"
ORANGE = "#d55e00"
GREY = "#6b7280"
_GRID = "#e5e7eb"
_INK = "#374151"

_WIDTH, _HEIGHT = 540, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 30, 28
_LETTER = 7.0
_ALL_NAMED = 16
_POINTS_SHOWN = 40
_LEAST = 0.001  # a probability nearer to 0 or 1 is not told


def number_text(value: float) -> str:
    """A number as people read it: three or four digits, thousands apart, small ones in full."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else ("none" if value > 0 else "-inf")
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:,.4g} million"
    if size >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{value:.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.4f}" if size >= 1e-4 else f"{value:.1e}"


def measured_text(value: float, unit: str) -> str:
    """A number in its unit, as the pages write it: three places of a correlation, no probability that is none."""
    if not math.isfinite(value):
        return number_text(value)
    if unit in ("correlation", "rank IC"):
        return f"{value:+.3f}"
    if unit == "t statistic":
        return f"{value:.1f}"
    if unit == "probability" and not _LEAST <= value <= 1 - _LEAST:
        return f"< {_LEAST}" if value < 0.5 else f"> {1 - _LEAST}"
    if unit.startswith("share"):
        return f"{100 * value:.1f} %"
    if unit == "yes (1) or no (0)":
        return "yes" if value else "no"
    return number_text(value)


class _Plot:
    """A frame with axes: x positions 0..count-1, y from ``low`` to ``high``, and the marks drawn so far.

    slots: positions are as wide as bars. named: each is a thing with a name, not one of many periods.
    """

    def __init__(
        self,
        title: str,
        x: Sequence[str],
        values: Sequence[float],
        unit: str,
        *,
        slots: bool = False,
        named: bool = False,
    ) -> None:
        finite = [v for v in values if math.isfinite(v)] or [0.0]
        self.low, self.high, self._step = _scale(min(0.0, *finite), max(0.0, *finite))
        self._x, self._slots, self._named, self._unit, self._title = x, slots, named, unit, title
        self.marks: list[str] = []

    def at(self, index: float) -> float:
        """Horizontal place of position ``index``."""
        count = len(self._x)
        wide = _WIDTH - _LEFT - _RIGHT
        if self._slots:
            return _LEFT + wide * (index + 0.5) / max(count, 1)
        return _LEFT + wide * (index / (count - 1) if count > 1 else 0.5)

    def height(self, value: float) -> float:
        """Vertical place of ``value``."""
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)

    @property
    def slot(self) -> float:
        """Width that one position has."""
        return (_WIDTH - _LEFT - _RIGHT) / max(len(self._x), 1)

    def svg(self) -> str:
        """The whole chart."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(self._title)}</title>'
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff" class="ground"/>'
        ]
        lines = round((self.high - self.low) / self._step)
        for k in range(lines + 1):
            value = self.low + k * self._step
            y = self.height(value)
            zero = abs(value) < 1e-9 * self._step
            colour, width, name = ("#9ca3af", 1.2, "zero") if zero else (_GRID, 1, "grid")
            parts += [
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}" stroke="{colour}" '
                f'stroke-width="{width}" class="{name}"/>',
                f'<text x="{_LEFT - 6}" y="{y + 4:.2f}" text-anchor="end" fill="{_INK}" class="ink">'
                f"{escape(_tick(value, self._step))}</text>",
            ]
        parts += self.marks
        every, letters = 1, max(int(self.slot / _LETTER), 2)
        longest = min(max(map(len, self._x), default=1), 14)
        if not self._named or len(self._x) > _ALL_NAMED:
            letters = longest
            most = max((_WIDTH - _LEFT - _RIGHT) // (letters * _LETTER + 16), 1)
            every = math.ceil(len(self._x) / most) or 1
        for i in range(0, len(self._x), every):
            half = len(_short(self._x[i], letters)) * _LETTER / 2 + 3
            x = min(self.at(i), _WIDTH - half)
            parts.append(
                f'<text x="{x:.2f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" fill="{_INK}" class="ink">'
                f"{escape(_short(self._x[i], letters))}</text>"
            )
        parts.append(f'<text x="4" y="14" fill="{GREY}" class="unit">{escape(self._unit)}</text>')
        return "".join([*parts, "</svg>"])

    def band(self, low: float, high: float, text: str) -> None:
        """A horizontal band over the whole width."""
        top, bottom = self.height(high), self.height(low)
        self.marks.append(
            f'<rect x="{_LEFT}" y="{top:.2f}" width="{_WIDTH - _LEFT - _RIGHT}" height="{bottom - top:.2f}" '
            f'fill="{ORANGE}" fill-opacity="0.16"><title>{escape(text)}</title></rect>'
        )

    def level(self, value: float, text: str) -> None:
        """A horizontal line over the whole width."""
        y = self.height(value)
        self.marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.2f}" y2="{y:.2f}" stroke="{ORANGE}" '
            f'stroke-width="1.6" stroke-dasharray="5 3"><title>{escape(text)}</title></line>'
        )


def line_chart(title: str, series: Series) -> str:
    """One line over periods, with its band where it has one. Gaps stay gaps."""
    plot = _Plot(title, series.x, [*series.y, *series.low, *series.high], series.unit)
    for run in _runs(series.low, series.high):
        edge = [(i, series.high[i]) for i in run] + [(i, series.low[i]) for i in reversed(run)]
        points = " ".join(f"{plot.at(i):.2f},{plot.height(v):.2f}" for i, v in edge)
        plot.marks.append(f'<polygon points="{points}" fill="{BLUE}" fill-opacity="0.15"/>')
    for run in _runs(series.y):
        points = " ".join(f"{plot.at(i):.2f},{plot.height(series.y[i]):.2f}" for i in run)
        plot.marks.append(f'<polyline points="{points}" fill="none" stroke="{BLUE}" stroke-width="2"/>')
    if len(series.x) <= _POINTS_SHOWN:
        _dots(plot, series)
    return plot.svg()


def area_chart(title: str, series: Series) -> str:
    """A line filled down, or up, to zero."""
    plot = _Plot(title, series.x, series.y, series.unit)
    zero = plot.height(0.0)
    for run in _runs(series.y):
        top = " ".join(f"{plot.at(i):.2f},{plot.height(series.y[i]):.2f}" for i in run)
        ends = f"{plot.at(run[-1]):.2f},{zero:.2f} {plot.at(run[0]):.2f},{zero:.2f}"
        plot.marks.append(f'<polygon points="{top} {ends}" fill="{ORANGE}" fill-opacity="0.25"/>')
        plot.marks.append(f'<polyline points="{top}" fill="none" stroke="{ORANGE}" stroke-width="1.8"/>')
    return plot.svg()


def bar_chart(title: str, series: Series) -> str:
    """A bar for each position, with whiskers where the series has a band."""
    plot = _Plot(title, series.x, [*series.y, *series.low, *series.high], series.unit, slots=True, named=True)
    _bars(plot, series, BLUE)
    for i, (low, high) in enumerate(zip(series.low, series.high, strict=True)):
        if math.isfinite(low) and math.isfinite(high):
            x, top, bottom, arm = plot.at(i), plot.height(high), plot.height(low), min(6.0, plot.slot / 4)
            plot.marks.append(
                f'<path d="M{x:.2f} {top:.2f}V{bottom:.2f}M{x - arm:.2f} {top:.2f}H{x + arm:.2f}'
                f'M{x - arm:.2f} {bottom:.2f}H{x + arm:.2f}" '
                f'stroke="{_INK}" stroke-width="1.4" fill="none" class="reach"/>'
            )
    return plot.svg()


def band_chart(title: str, series: Series, mean: float) -> str:
    """Bars by period under one band: the interval of their mean, which is a dashed line."""
    band = (series.low[0], series.high[0]) if series.low else (math.nan, math.nan)
    plot = _Plot(title, series.x, [*series.y, *band], series.unit, slots=True)
    _bars(plot, series, BLUE)
    if all(math.isfinite(v) for v in band):
        plot.band(*band, f"95 % interval of the mean: {number_text(band[0])} to {number_text(band[1])}")
    if math.isfinite(mean):
        plot.level(mean, f"mean {number_text(mean)}")
    return plot.svg()


def _bars(plot: _Plot, series: Series, colour: str) -> None:
    zero, wide = plot.height(0.0), max(plot.slot * 0.7, 0.8)
    wide = min(wide, 56.0)
    for i, value in enumerate(series.y):
        if math.isfinite(value):
            y = plot.height(value)
            plot.marks.append(
                f'<rect x="{plot.at(i) - wide / 2:.2f}" y="{min(y, zero):.2f}" width="{wide:.2f}" '
                f'height="{abs(y - zero):.2f}" fill="{colour}"><title>{escape(series.x[i])}: {number_text(value)}'
                "</title></rect>"
            )


def _dots(plot: _Plot, series: Series) -> None:
    for i, value in enumerate(series.y):
        if math.isfinite(value):
            plot.marks.append(
                f'<circle cx="{plot.at(i):.2f}" cy="{plot.height(value):.2f}" r="3" fill="{BLUE}"><title>'
                f"{escape(series.x[i])}: {number_text(value)}</title></circle>"
            )


def _runs(*columns: Sequence[float]) -> list[list[int]]:
    """Stretches of positions where every column is finite."""
    runs: list[list[int]] = [[]]
    for i, row in enumerate(zip(*columns, strict=True)):
        if all(math.isfinite(v) for v in row):
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Round ends and step for an axis with about five lines."""
    if high - low < 1e-300:
        high = low + 1.0
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _tick(value: float, step: float) -> str:
    if abs(value) < 1e-9 * step:
        return "0"
    if abs(value) >= 1e5 or step < 1e-4:
        return f"{value:.2g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**digits - round(step * 10**digits)) > 1e-6:
        digits += 1
    return f"{value:,.{digits}f}"


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
