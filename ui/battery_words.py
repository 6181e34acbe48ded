"""The battery's numbers in words: names, values in their units, intervals beside means, and what could fool one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from parties.client import FactorDetail, NumberView, SectionView
from ui.wording import HELP, MISSING, count, marked, things

__all__ = [
    "HonestyRow",
    "honesty_rows",
    "left_out_table",
    "measure_title",
    "number_named",
    "numbers_table",
    "quantity",
    "side_by_side",
    "title_of",
]

_WORDS: Mapping[str, str] = {
    "ic": "IC", "mmc": "MMC", "psr": "PSR", "pbo": "PBO", "bhy": "(BHY)", "holm": "(Holm)", "ir": "IR", "p": "p value",
    "auc": "AUC", "r2": "R\N{SUPERSCRIPT TWO}", "psi": "PSI", "ks": "KS distance", "sharpe": "Sharpe", "n": "number of",
}  # fmt: skip
_ENDINGS = ("_t", "_low", "_high")
_SURE = 0.95
_REASONS: Mapping[str, str] = {"truth_less_permuted": "permuted", "beside_memory": "memory"}


def title_of(name: str) -> str:
    """A number's or a check's name for people: rank_ic_ir is rank IC IR."""
    return " ".join(_WORDS.get(word, word) for word in name.split("_"))


def measure_title(name: str) -> str:
    """The name of a measure on test rows, with a capital: log_loss is Log loss."""
    title = title_of(name)
    return title[:1].upper() + title[1:]


def quantity(value: float | None, unit: str) -> str:
    """A value in its unit, as short as it stays honest. The unit itself stands beside it."""
    if value is None or not math.isfinite(value):
        return MISSING
    if unit.startswith("yes"):
        return "yes" if value else "no"
    if unit == "correlation":
        return f"{value:+.3f}"
    if unit == "t statistic":
        return f"{value:.1f}"
    if unit == "probability" and not 0.001 <= value <= 0.999:
        return "< 0.001" if value < 0.5 else "> 0.999"
    if unit.startswith("share"):
        return f"{100 * value:.1f} %"
    if value and abs(value) < 1e-4:
        return f"{value:.1e}"
    if abs(value) >= 1000:
        return count(value)
    if value == int(value):
        return f"{value:.0f}"
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"


def numbers_table(section: SectionView) -> pd.DataFrame:
    """One row per number; its t and the ends of its interval stand beside it, not below."""
    known = {number.name: number for number in section.numbers}
    rows = []
    for number in section.numbers:
        base = next((number.name.removesuffix(end) for end in _ENDINGS if number.name.endswith(end)), "")
        if base in known:
            continue
        t, low, high = (known.get(number.name + end) for end in _ENDINGS)
        rows.append(
            (
                title_of(number.name),
                quantity(number.value, number.unit),
                "" if number.unit.startswith("yes") else number.unit,  # the value says it
                quantity(t.value, t.unit) if t else "",
                _interval(low, high),
                number.n,
                marked(number.definition),
            )
        )
    table = pd.DataFrame(rows, columns=["Number", "Value", "Unit", "t", "95 % interval", "n", "Definition"])
    return table.drop(columns=[name for name in ("t", "95 % interval") if not any(table[name])])


def _interval(low: NumberView | None, high: NumberView | None) -> str:
    if low is None or high is None or low.value is None or high.value is None:
        return ""
    return f"{quantity(low.value, low.unit)} to {quantity(high.value, high.unit)}"


def side_by_side(sections: Sequence[SectionView]) -> list[tuple[SectionView, ...]]:
    """Sections in their order, two neighbours with one chart each in one row."""
    rows: list[tuple[SectionView, ...]] = []
    for section in sections:
        if rows and len(rows[-1]) == 1 and len(rows[-1][0].charts) == 1 == len(section.charts):
            rows[-1] = (*rows[-1], section)
        else:
            rows.append((section,))
    return rows


def number_named(sections: Sequence[SectionView], section: str, name: str) -> NumberView | None:
    """One number of the battery, or None where it was not made."""
    found = (n for part in sections if part.key == section for n in part.numbers if n.name == name)
    return next(found, None)


@dataclass(frozen=True, slots=True)
class HonestyRow:
    """One thing that a good number could hide. ``good``: None where it could not be checked or has no verdict."""

    title: str
    value: str
    says: str
    good: bool | None
    meaning: str


def honesty_rows(detail: FactorDetail) -> list[HonestyRow]:
    """Trials, deflated Sharpe, PBO, hurdle, track record and placebos, each with a verdict or the reason for none."""
    periods = number_named(detail.sections, "ic", "rank_ic")
    had = periods.n if periods else 0
    record = _value(detail, "significance", "minimum_track_record")
    deflated, pbo = _value(detail, "search", "deflated_sharpe"), _value(detail, "search", "pbo")
    hurdle, apart = _value(detail, "significance", "hurdle"), _value(detail, "placebo", "truth_less_permuted_low")
    fingerprint = any(warning.name == "fingerprint" for warning in detail.warnings)
    return [
        _row(detail, "Trials counted", "search", "n_trials", "trials", None),
        _row(
            detail, "Deflated Sharpe", "search", "deflated_sharpe", "deflated_sharpe",
            None if deflated is None else deflated >= _SURE,
            "above 0.95: more than the luck of that many trials", "below 0.95: luck alone could have found it",
        ),
        _row(
            detail, "Probability of backtest overfitting", "search", "pbo", "pbo", None if pbo is None else pbo <= 0.5,
            "one half or less", "above one half: the best in one part of history is mostly poor in the other",
        ),
        _row(
            detail, "Minimum track record", "significance", "minimum_track_record", "track_record",
            None if record is None else had >= record, f"there are {things(had, 'periods')}: enough",
            f"only {things(had, 'periods')} so far",
        ),
        _row(
            detail, "Hurdle for a new factor, |t| > 3", "significance", "hurdle", "hurdle",
            None if hurdle is None else bool(hurdle), "passed", "not passed",
        ),
        _row(
            detail, "Real rows less shuffled rows", "placebo", "truth_less_permuted", "placebo",
            None if apart is None else apart > 0, "the interval lies above zero: the rows carry information",
            "the interval reaches zero: strangers' rows do as well",
        ),
        _row(
            detail, "Rank IC beside remembered labels", "placebo", "beside_memory", "fingerprint",
            None if _value(detail, "placebo", "beside_memory") is None else not fingerprint,
            "no fingerprint warning", "fingerprint warning: it recognises entities rather than events",
        ),
    ]  # fmt: skip


def _value(detail: FactorDetail, section: str, name: str) -> float | None:
    number = number_named(detail.sections, section, name)
    return None if number is None else number.value


def _row(
    detail: FactorDetail, title: str, section: str, name: str, word: str, good: bool | None, yes: str = "", no: str = ""
) -> HonestyRow:
    number = number_named(detail.sections, section, name)
    if number is None:
        reason = detail.left_out.get(name) or detail.left_out.get(_REASONS.get(name, "")) or "not in this bundle"
        return HonestyRow(title, MISSING, f"left out: {reason}", None, HELP[word])
    if number.value is None or good is None:
        return HonestyRow(title, quantity(number.value, number.unit), number.definition, None, HELP[word])
    return HonestyRow(title, quantity(number.value, number.unit), yes if good else no, good, HELP[word])


def left_out_table(left_out: Mapping[str, str]) -> pd.DataFrame:
    """Checks that were not made, and why: one row per reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(title_of(name))
    rows = [(", ".join(names), reason) for reason, names in reasons.items()]
    return pd.DataFrame(rows, columns=["Checks", "Why they were left out"])
