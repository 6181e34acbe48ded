"""One factor: is it as signed, how good is it, what could fool one, and its files to take away."""

from __future__ import annotations

from functools import partial

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from parties.client import (
    ClientProtocol,
    EntenteError,
    FactorCard,
    FactorCheck,
    FactorDetail,
    FactorForm,
    FactorsQuestion,
    NumberView,
    SectionView,
    ViewerView,
)
from ui import battery_words
from ui.charts.drawn_once import draw
from ui.charts.factors import factor_chart
from ui.empty_states import ask, empty, explain
from ui.factor_files import FORM_HINTS, FORM_TITLES, file_name, mime_of, taken
from ui.links import go
from ui.tables.factors import live_table, versions_table
from ui.tables.run import files_table
from ui.tables.trust import moment
from ui.wording import HELP, MISSING, correlation, data_size, instant, plain, short_id, t_value

__all__ = ["render"]

_VERSIONS = 50
_HELPS = {
    "ic": "rank_ic", "uplift": "uplift", "decay": "decay", "quantiles": "quantile", "stability": "turnover",
    "long_short": "drawdown", "capacity": "capacity", "neutralised": "neutralised", "significance": "hurdle",
    "search": "deflated_sharpe", "placebo": "placebo",
}  # fmt: skip


def render(client: ClientProtocol, _: ViewerView) -> None:
    """The page of the factor named in the address (``?run=``), or of the newest one."""
    run_id = st.query_params.get("run", "") or _newest(client)
    if not run_id:
        st.title("Factor")
        empty("No factor yet", "A run's factor appears here as soon as its label party has exported it.")
        return
    detail = ask("the factor", lambda: client.factor(run_id))
    if detail is None:
        return
    _heading(detail)
    left, right = st.columns(2, gap="medium")
    with left:
        _verification(client, detail.card)
        _warnings(detail)
    with right:
        _downloads(client, detail)
    if detail.card.static is None:
        _headline(detail)
        _honesty(detail)
    else:
        _measures(detail.card)
    for group in battery_words.side_by_side(detail.sections):
        for column, section in zip(st.columns(len(group), gap="medium"), group, strict=True):
            with column:
                _section(section, detail)
    _left_out(detail)
    _live(detail)
    _about(client, detail)


def _newest(client: ClientProtocol) -> str:
    page = ask("factors", lambda: client.factor_page(FactorsQuestion(limit=1)))
    return page.cards[0].run_id if page and page.cards else ""


def _heading(detail: FactorDetail) -> None:
    card = detail.card
    if st.button("All factors", icon=":material/arrow_back:", type="tertiary", key="all factors"):
        go("factors")
    st.title(plain(card.factor_id, longest=90))
    words = [plain(card.purpose, longest=90), plain(card.consortium, longest=60)]
    words.append(f"version {plain(card.version, longest=40)}")
    words += [f"made {instant(card.created_at)}", f"for {plain(', '.join(card.recipients))}"]
    st.caption(" · ".join(word for word in words if word))
    if detail.withheld:
        st.info(plain(detail.withheld), icon=":material/lock:")


def _verification(client: ClientProtocol, card: FactorCard) -> None:
    """A green or a red answer, worked out by the coordinator when the page is opened and whenever asked again."""
    st.subheader("Verification", help=HELP["verified"])
    if not card.available:
        st.caption("There is no copy here to verify. A recipient verifies its own with `entente factors verify DIR`.")
        return
    key = f"check {card.run_id} {card.sha256}"
    again = st.session_state.pop(f"{key} again", False)
    if again or key not in st.session_state:
        try:
            with st.spinner("Verifying hashes, signatures and logs"):
                st.session_state[key] = client.check_factor(card.run_id)
        except EntenteError as error:
            explain(error)
            return
    _answer(st.session_state[key])
    st.button(
        "Verify again", icon=":material/refresh:", key=f"{key} button",
        on_click=lambda: st.session_state.update({f"{key} again": True}),
    )  # fmt: skip


def _answer(check: FactorCheck) -> None:
    if check.sound:
        by = plain(", ".join(signer.signer for signer in check.signers))
        st.success(
            f"{check.files} files are as signed by {by}, with the key in the agreement.",
            title="Verified", icon=":material/verified:",
        )  # fmt: skip
    else:
        named = "\n".join(f"- **{plain(f.file, longest=80)}**: {plain(f.fact)}" for f in check.faults[:8])
        st.error(f"{named}\n\nDo not use these files.", title="Not as signed", icon=":material/gpp_bad:")
    for proof in check.logged:
        if not proof.fault:
            place = f"entry {proof.index} of {proof.size} under a signed head"
            st.caption(f"Logged by {plain(proof.signer)} at {plain(moment(proof.at))} as {place}.")
    if not check.logged:
        st.caption("No proof is in the bundle that it was logged when it was made.")
    st.caption(f"Checked {instant(check.checked_at)}, as `entente factors verify` does.")


def _warnings(detail: FactorDetail) -> None:
    for warning in detail.warnings:
        st.warning(plain(warning.text, longest=600), title=plain(warning.name), icon=":material/warning:")
    if detail.facts and not detail.withheld and not detail.warnings:
        st.caption("No check of the battery raised a warning. What could not be checked is listed below.")


def _downloads(client: ClientProtocol, detail: FactorDetail) -> None:
    st.subheader("Files", help=HELP["sha256"])
    if not detail.may_download:
        st.caption("No files to take away here.")
        return
    check = st.session_state.get(f"check {detail.card.run_id} {detail.card.sha256}")
    if check is None or not check.sound:
        st.caption("Files are handed over only when they verify.")
        return
    forms = list(detail.forms.items())
    for first in range(0, len(forms), 2):
        for cell, (form, reason) in zip(st.columns(2), forms[first : first + 2], strict=False):
            with cell:
                _download(client, detail, form, reason)


def _download(client: ClientProtocol, detail: FactorDetail, form: FactorForm, reason: str) -> None:
    size = f", {data_size(detail.card.bytes)} unpacked" if form == "zip" and detail.card.bytes else ""
    st.download_button(
        FORM_TITLES[form],
        partial(taken, client, detail, form),
        file_name=file_name(detail, form),
        mime=mime_of(form),
        icon=":material/download:",
        type="primary" if form == "zip" else "secondary",
        disabled=bool(reason),
        on_click="ignore",
        width="stretch",
        key=f"take {form} {detail.card.run_id}",
    )
    st.caption(plain(reason) if reason else f"{FORM_HINTS[form]}{size}")


def _measures(card: FactorCard) -> None:
    """What static data has in place of ICs: of the joint scores, and of the label party's own."""
    found = card.static
    assert found is not None
    rows = [
        {"model": "joint" if model == "joint" else "label party alone"}
        | {plain(name.replace("_", " ")): value for name, value in by.items()}
        for model, by in found.measures.items()
    ]
    st.subheader(f"On {found.rows:,} test rows", help=HELP["test_rows"])
    st.dataframe(rows, hide_index=True, alt="Measures on the test rows")


def _headline(detail: FactorDetail) -> None:
    card = detail.card
    icir = battery_words.number_named(detail.sections, "ic", "rank_ic_ir")
    turnover = battery_words.number_named(detail.sections, "stability", "turnover")
    trials = battery_words.number_named(detail.sections, "search", "n_trials")
    cells = [*st.columns(3), *st.columns(3)]
    _tile(cells[0], "Rank IC, joint", correlation(card.ic_joint), "rank_ic", card.t_joint)
    _tile(cells[1], "Rank IC, own", correlation(card.ic_own), "ic_own")
    _tile(cells[2], "Uplift", correlation(card.uplift), "uplift", card.t_uplift)
    _tile(cells[3], "ICIR per period", _value(icir), "icir")
    _tile(cells[4], "Turnover per period", _value(turnover), "turnover")
    _tile(cells[5], "Trials counted", _value(trials), "trials")


def _value(number: NumberView | None) -> str:
    return MISSING if number is None else battery_words.quantity(number.value, number.unit)


def _tile(cell: DeltaGenerator, label: str, value: str, word: str, t: float | None = None) -> None:
    note = None if t is None else f"t = {t_value(t)}"
    meaning = HELP[word] if t is None else f"{HELP[word]} {HELP['t']}"
    cell.metric(label, value, note, help=meaning, border=True, delta_color="off", delta_arrow="off", height="stretch")


def _honesty(detail: FactorDetail) -> None:
    if not detail.facts or detail.withheld:
        return
    st.subheader("What could fool you", help=HELP["trials"])
    rows = battery_words.honesty_rows(detail)
    for first in range(0, len(rows), 4):  # row by row, so that those side by side are of one height
        for cell, row in zip(st.columns(4), rows[first : first + 4], strict=False):
            _verdict(cell, row)


def _verdict(cell: DeltaGenerator, row: battery_words.HonestyRow) -> None:
    with cell.container(border=True, height="stretch"):
        st.markdown(f"**{row.title}**", help=row.meaning)
        icon = {True: ":green[:material/check_circle:]", False: ":red[:material/error:]", None: ""}[row.good]
        st.markdown(f"#### {row.value} {icon}")
        st.caption(plain(row.says, longest=300))


def _section(section: SectionView, detail: FactorDetail) -> None:
    meaning = HELP.get(_HELPS.get(section.key, ""), None)
    st.subheader(plain(section.title), help=meaning)
    mean = battery_words.number_named(detail.sections, "ic", "rank_ic")
    if section.charts:
        for column, chart in zip(st.columns(len(section.charts)), section.charts, strict=True):
            with column:
                st.markdown(f"**{plain(chart.title)}**")
                draw(factor_chart, chart, mean if chart.key == "rank_ic" else None, alt=chart.title)
                st.caption(plain(chart.series.definition))
    if section.numbers:
        table = battery_words.numbers_table(section)
        with st.expander(f"{len(table)} numbers with their definitions", expanded=not section.charts):
            st.dataframe(table, hide_index=True, alt=f"Numbers: {section.title}", key=f"numbers {section.key}")


def _left_out(detail: FactorDetail) -> None:
    if not detail.facts or detail.withheld:
        return
    st.subheader("Left out", help=HELP["left_out"])
    if detail.left_out:
        st.dataframe(battery_words.left_out_table(detail.left_out), hide_index=True, alt="Checks that were left out")
        st.caption("With prices, sectors or known factors of your own, `entente factors validate` makes these at home.")
    else:
        st.caption("Nothing: every check was made.")


def _live(detail: FactorDetail) -> None:
    st.subheader("Live", help=HELP["live"])
    if detail.live:
        st.dataframe(live_table(detail.live), hide_index=True, alt="Live periods that the label party attested")
    else:
        st.caption("No live period has been attested yet. `entente factors monitor` scores a factor at home meanwhile.")


def _about(client: ClientProtocol, detail: FactorDetail) -> None:
    st.subheader("Versions")
    name = detail.card.factor_id
    page = ask("versions", lambda: client.factor_page(FactorsQuestion(factor_id=name[:200], limit=_VERSIONS)))
    if page is not None:
        table = versions_table(page.cards, detail.card.run_id)
        event = st.dataframe(
            table, hide_index=True, on_select="rerun", selection_mode="single-row", key=f"versions {name}",
            alt="Versions of this factor",
        )  # fmt: skip
        if rows := event["selection"]["rows"]:
            chosen = page.cards[rows[0]]
            if chosen.run_id != detail.card.run_id:
                go("factor", run=chosen.run_id)
    if detail.facts:
        with st.expander("What it is", icon=":material/info:"):
            st.table({"": list(detail.facts), " ": [plain(value) for value in detail.facts.values()]})
    if detail.files:
        with st.expander(f"{len(detail.files)} files with their fingerprints", icon=":material/folder_zip:"):
            st.code(f"SHA-256 of SHA256SUMS: {detail.card.sha256}", language=None)
            st.dataframe(files_table(detail.files), hide_index=True, alt="Files of the bundle")
    if st.button(f"Run {short_id(detail.card.run_id)}", icon=":material/monitoring:", key="run of the factor"):
        go("run", run=detail.card.run_id)
