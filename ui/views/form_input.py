"""One input of a new run's form, and the sentence that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from ui.form_fields import Field, Values
from ui.wording import as_sentence, plain

__all__ = ["draw_input", "in_rows", "wrong"]

_NARROW = 30
"""Characters of a choice that half a row shows whole on a screen of 1280 pixels."""


def in_rows(fields: Iterable[Field], values: Values, narrow: int = _NARROW) -> list[tuple[Field, ...]]:
    """The fields two abreast in their order, but for choices too long for that, which follow in rows of their own."""
    rows, pair, long = list[tuple[Field, ...]](), list[Field](), list[Field]()
    for field in fields:
        wide = max((len(title) for title in field.offered(values).values()), default=0) > narrow
        (long if (wide and field.kind == "choice") or field.kind == "names" else pair).append(field)
        if len(pair) != 1:
            rows += [tuple(pair)] if pair else []
            rows += [(one,) for one in long]
            pair, long = [], []
    return [*rows, *([tuple(pair)] if pair else []), *((one,) for one in long)]


def draw_input(key: str, field: Field, values: Values) -> None:
    """One input; its value lies in the session under ``key`` already.

    It is the input's default as well: a browser in which a change overtakes the first drawing sends the defaults of
    what it has not filled in yet.
    """
    value, offered = values[field.path], field.offered(values)
    label, about = field.words(values)
    low, high, kind = field.low, field.high, field.shape(values)
    if kind == "text":
        st.text_input(label, value=value, key=key, help=about, max_chars=400)
    elif kind == "switch":
        st.toggle(label, value=value, key=key, help=about)
    elif kind == "date":
        st.date_input(label, value=value, key=key, help=about, format="YYYY-MM-DD")
    elif kind == "names":
        st.multiselect(label, list(offered), default=value, key=key, help=about)
    elif kind in ("choice", "rate"):
        choices = {**offered, value: offered.get(value, value)}
        at = list(choices).index(value)
        st.selectbox(label, list(choices), at, key=key, help=about, format_func=lambda one: choices[one])
    elif kind == "whole":
        most = None if high is None else int(high)
        st.number_input(label, int(low or 0), most, value, step=max(1, int(field.step)), key=key, help=about)
    else:
        step, shape = (100.0, "%.2f") if kind == "money" else (field.step, "%g" if field.step < 0.01 else None)
        st.number_input(label, float(low or 0), high, value, step=step, format=shape, key=key, help=about)


def wrong(sentence: str) -> None:
    """What is wrong with the input above."""
    st.markdown(f":red[:material/error: {plain(as_sentence(sentence))}]")
