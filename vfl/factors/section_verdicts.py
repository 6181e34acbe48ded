"""One sentence on what a section of the report comes to, made of its numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from vfl.factors.charts import measured_text
from vfl.factors.findings import Number

__all__ = ["section_verdict"]

Numbers = Mapping[str, Number]
_SURE, _HURDLE, _REACH = 0.95, 3, 1.96


def section_verdict(section: str, numbers: Numbers) -> str:
    """The sentence; "" for a section that has none, or lacks the number that it rests on."""
    told = _SENTENCES.get(section)
    return "" if told is None else told(numbers)


def _known(numbers: Numbers, name: str) -> Number | None:
    number = numbers.get(name)
    return number if number is not None and math.isfinite(number.value) else None


def _text(number: Number) -> str:
    return measured_text(number.value, number.unit)


def _uplift(numbers: Numbers) -> str:
    gain, t = _known(numbers, "rank_ic_difference"), _known(numbers, "rank_ic_difference_t")
    if gain is None or t is None:
        return ""
    beyond = "more than chance explains" if abs(t.value) > _REACH else "no more than chance explains"
    return f"Joining changed the rank IC by {_text(gain)}, with a t of {_text(t)}: {beyond}."


def _significance(numbers: Numbers) -> str:
    psr, needed, hurdle = (_known(numbers, name) for name in ("psr", "minimum_track_record", "hurdle"))
    told = []
    if psr is not None:
        told.append(f"The Sharpe ratio is above zero with probability {_text(psr)}")
    if needed is not None:
        told.append(f"{measured_text(needed.value, needed.unit)} periods are needed to say so with 95 % confidence")
    if hurdle is not None:
        told.append(f"|t| is {'above' if hurdle.value else 'not above'} the hurdle of {_HURDLE} for a new factor")
    return "; ".join(told) + "." if told else ""


def _search(numbers: Numbers) -> str:
    deflated, trials = _known(numbers, "deflated_sharpe"), _known(numbers, "n_trials")
    if deflated is None or trials is None:
        return ""
    more = "more than luck" if trials.value == 1 else "more than the luck of so many trials"
    luck = more if deflated.value >= _SURE else "luck alone could have found it"
    many = "1 configuration" if trials.value == 1 else f"{_text(trials)} configurations"
    return f"After {many} tried, the deflated Sharpe ratio is {_text(deflated)}: {luck}."


def _contribution(numbers: Numbers) -> str:
    values = {
        name.removeprefix("phi_"): _known(numbers, name)
        for name in numbers
        if name.startswith("phi_") and f"{name}_t" in numbers
    }
    known = {party: number for party, number in values.items() if number is not None}
    if not known:
        return ""
    first = max(known, key=lambda party: known[party].value)
    sure = [party for party in known if _above_chance(_known(numbers, f"phi_{party}_t"))]
    beyond = f"beyond chance: {', '.join(sure)}" if sure else "beyond chance: none"
    return f"The largest contribution is {_text(known[first])}, of {first}; {beyond}."


def _above_chance(t: Number | None) -> bool:
    return t is not None and t.value > _REACH


def _placebo(numbers: Numbers) -> str:
    apart, low = _known(numbers, "truth_less_permuted"), _known(numbers, "truth_less_permuted_low")
    if apart is not None and low is not None:
        says = "the rows carry information" if low.value > 0 else "strangers' rows may do as well"
        return f"Real rows less shuffled ones: {_text(apart)} of rank IC; {says}."
    shuffled = _known(numbers, "permuted")
    return "" if shuffled is None else f"Fitted on shuffled rows, the model has a rank IC of {_text(shuffled)}."


_SENTENCES: Mapping[str, Callable[[Numbers], str]] = {
    "uplift": _uplift,
    "significance": _significance,
    "search": _search,
    "contribution": _contribution,
    "placebo": _placebo,
}
