"""A new run: a form that builds the agreement, with what it would mean and cost beside it. Nothing is signed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from parties.client import (
    ClientProtocol,
    DraftQuestion,
    DraftView,
    EntenteError,
    PartyView,
    RunsQuestion,
    TemplateView,
    ViewerView,
)
from ui import run_form
from ui.agreement_text import show_text
from ui.empty_states import ask, empty, explain
from ui.group_form import GROUPS, can_group
from ui.incidents import live_part
from ui.links import go
from ui.tables.run_list import grants_table
from ui.views import draft_panel
from ui.views.form_input import draw_input, in_rows, wrong
from ui.views.form_tabs import form_tabs, tab_steps
from ui.views.group_cards import draw_groups, seed_groups
from ui.wording import listed, plain, short_id

__all__ = ["render"]

_COORDINATOR = "coordinator"
_LIKE = "like"


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    st.title("New run")
    if viewer.role != "admin":
        empty("Only an admin proposes runs", "Every party's node decides on a proposal by itself, whoever makes it.")
        return
    st.caption(
        "Every party's node checks the agreement and signs it, or refuses: here it is only proposed. "
        "What it would mean and cost stands beside the form, and follows each change."
    )
    _outcome()
    read = ask("the templates", lambda: (client.run_templates(), client.parties()))
    if read is None:
        return
    templates, members = read
    if not any(_has_said(member) for member in members):
        empty("No party has said what it brings", "A party's node says it when it is started: `entente party start`.")
        return
    start = _start(client, templates)
    if start is not None:
        live_part(_form)(client, start, members)


def _start(client: ClientProtocol, templates: Sequence[TemplateView]) -> TemplateView | None:
    """The terms to begin with: a template's, or those of a run that there was."""
    named = {template.key: template.title for template in templates} | {_LIKE: "Same as a run"}
    wanted = st.query_params.get(_LIKE, "")
    key = st.segmented_control(
        "Begin with", list(named), format_func=lambda name: named[name], default=_LIKE if wanted else templates[0].key,
        required=True, key="begin with",
    )  # fmt: skip
    if key != _LIKE:
        template = next(one for one in templates if one.key == key)
        st.caption(plain(template.words))
        return template
    page = ask("earlier runs", lambda: client.runs_page(RunsQuestion(limit=100)))
    if page is None:
        return None
    runs = {run.run_id: f"{short_id(run.run_id)} · {run.purpose or run.consortium} · {run.status}" for run in page.runs}
    if wanted and wanted not in runs:
        runs = {wanted: short_id(wanted)} | runs
    if not runs:
        st.caption("There is no run yet.")
        return None
    ids = list(runs)
    chosen = st.selectbox("Run", ids, index=ids.index(wanted) if wanted else 0, format_func=lambda name: runs[name])
    return ask("its terms", lambda: client.run_like(chosen))


def _form(client: ClientProtocol, start: TemplateView, members: Sequence[PartyView]) -> None:
    """The fields at the left, what they come to at the right; each change runs only this."""
    values, chosen = _seed(start, members)
    terms = run_form.terms_from(start.terms, values)
    terms["parties"] = [name for names in (chosen["label"], chosen["features"]) for name in names]
    if made := values["model.kind"] not in ("screen", "federated"):
        terms["recipients"] = chosen["recipients"]
    coalition = tuple(chosen["coalition"]) if made else ()
    question = DraftQuestion(
        terms=terms,
        coalition=coalition,
        valid_hours=st.session_state[_key(start, "valid")],
        entities=st.session_state[_key(start, "entities")],
    )
    draft = _drafted(client, question)
    fault = draft.field if draft is not None and draft.fault else None
    left, right = st.columns([5, 4], gap="medium")
    with left:
        wrong = run_form.section_of(fault) if fault else ""
        sections = f"sections {start.key}"
        for name, tab in form_tabs(sections, run_form.SECTIONS, wrong).items():
            with tab:
                if name == "time" and made:
                    _presets(start, str(values["calendar.frequency"]))
                _fields(start, name, values, draft)
                if name == "who":
                    _who(start, members, values, draft, made=made)
        tab_steps(sections, run_form.SECTIONS)
    with right:
        if draft_panel.show(draft):
            st.session_state.pop("proposal", None)  # proposed_at is of now
            _confirm(client, question)


def _key(start: TemplateView, path: str) -> str:
    """Each template has inputs of its own, so that another choice begins anew."""
    return f"draft {start.key} {path}"


def _seed(start: TemplateView, members: Sequence[PartyView]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The fields' values and who takes part: as typed so far, else as the terms to begin with say.

    They are put where the inputs look for them, so that presets can change them and a party that was taken out
    is taken out everywhere.
    """
    initial = run_form.values_of(start.terms)
    for path, value in {**initial, "valid": 24, "entities": start.entities}.items():
        st.session_state.setdefault(_key(start, path), value)
    values = {path: st.session_state[_key(start, path)] for path in initial}
    chosen = _chosen(start, members)
    values[run_form.FEATURES] = chosen["features"]
    values[GROUPS] = seed_groups(start, members, chosen["features"])
    changed: dict[str, Any] = {}
    kind = values["model.kind"]
    if st.session_state.setdefault(_key(start, "kind before"), kind) != kind:
        changed = run_form.on_kind_change(values)
        st.session_state[_key(start, "kind before")] = kind
    changed |= run_form.out_of_choice(values)
    for path, value in changed.items():
        values[path] = st.session_state[_key(start, path)] = value
    for part, names in chosen.items():
        st.session_state[_key(start, part)] = (names[0] if names else None) if part == "label" else names
    return values, chosen


def _drafted(client: ClientProtocol, question: DraftQuestion) -> DraftView | None:
    """The draft of these terms, asked for when they have changed; ``None`` while the coordinator is away."""
    kept = st.session_state.get("draft")
    if kept is not None and kept[0] == question:
        found: DraftView = kept[1]
        return found
    try:
        draft = client.run_draft(question)
    except EntenteError as error:
        explain(error)
        return None
    st.session_state["draft"] = question, draft
    return draft


def _chosen(start: TemplateView, members: Sequence[PartyView]) -> dict[str, list[str]]:
    """Who takes part, as chosen so far, or as the terms to begin with say."""
    brings = {member.name: member.role for member in members if _has_said(member)}
    named = [name for name in start.terms.get("parties", ()) if name in brings]
    label = [name for name in named if brings[name] == "label"][:1]
    features = [name for name in named if brings[name] == "feature"]
    takers = [name for name in start.terms.get("recipients", ()) if name in (*brings, _COORDINATOR)]
    initial = {"label": label, "features": features, "recipients": takers or label, "coalition": []}
    chosen = {}
    for part, default in initial.items():
        value = st.session_state.get(_key(start, part), default)
        chosen[part] = [value] if isinstance(value, str) else list(value or ())
    present = (*chosen["label"], *chosen["features"], _COORDINATOR)
    chosen["recipients"] = [name for name in chosen["recipients"] if name in present]
    chosen["coalition"] = [name for name in chosen["coalition"] if name in chosen["features"]]
    return chosen


def _has_said(member: PartyView) -> bool:
    """Whether its node has said what it brings: columns, or labels alone."""
    return bool(member.columns or member.label_name)


def _who(
    start: TemplateView,
    members: Sequence[PartyView],
    values: Mapping[str, Any],
    draft: DraftView | None,
    *,
    made: bool,
) -> None:
    """The parties, what each offers, and who gets the factor, where one is handed over."""
    chosen = _chosen(start, members)
    labels = [member.name for member in members if _has_said(member) and member.role == "label"]
    features = [member.name for member in members if _has_said(member) and member.role == "feature"]
    left, right = st.columns([1, 2])
    left.selectbox(
        "Label party", labels, index=None, key=_key(start, "label"),
        help="It holds the labels, leads the training and makes the factor."
        if made
        else "Of a screen it holds the labels and the report; of a federated model it leads and reports.",
    )  # fmt: skip
    right.multiselect(
        "Feature parties", features, key=_key(start, "features"),
        help="They hold features only, which never leave them.",
    )  # fmt: skip
    present = [*chosen["label"], *chosen["features"], _COORDINATOR]
    if made:
        _takers(start, present, chosen["features"])
    if draft is not None and draft.fault and draft.field in ("parties", "party", "recipients", "label", ""):
        wrong(draft.fault)
    if can_group(values):
        draw_groups(start, members, values, draft)
    with st.expander("What each party brings, column by column", icon=":material/view_column:"):
        table = grants_table(members, present, chosen["coalition"] if made else ())
        st.dataframe(table, hide_index=True, alt="Columns that each party offers, and those used", height=260)
        for member in members:
            for told in filter(None, (member.text, member.encoder, member.expansion)):
                st.caption(f"{plain(member.name)} makes {plain(told, longest=800)}.")
    silent = [member.name for member in members if not _has_said(member)]
    if silent:
        st.caption(f"Has not said what it brings: {plain(listed(silent))}.")
    one, two = st.columns(2)
    one.number_input(
        "To be signed within, hours",
        1,
        720,
        24,
        step=1,
        key=_key(start, "valid"),
        help="After that the proposal lapses.",
    )
    two.number_input(
        "Entities in common, about", 1, 1_000_000, 500, step=10, key=_key(start, "entities"),
        help="A guess, for the cost beside: nobody knows the number before the parties have aligned.",
    )  # fmt: skip


def _takers(start: TemplateView, present: Sequence[str], features: Sequence[str]) -> None:
    """Who gets the factor, and whether only some of the parties train it."""
    st.multiselect(
        "The factor goes to", present, key=_key(start, "recipients"),
        help="Recipients get the scores. Without the coordinator these pages can show no factor files.",
    )  # fmt: skip
    with st.expander("A retrain run of a coalition", icon=":material/group_work:"):
        st.caption("It pays nothing and opens no coalition: contributions come from comparing such runs.")
        st.multiselect("Only these feature parties", features, key=_key(start, "coalition"))


def _presets(start: TemplateView, frequency: str) -> None:
    def take(name: str) -> None:
        for path, value in run_form.preset(name, frequency).items():
            st.session_state[_key(start, path)] = value

    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "Validation", width="content", help="How long to wait before the first prediction, what to hold out."
        )
        for name, title in run_form.PRESETS.items():
            st.button(title, key=_key(start, f"preset {name}"), on_click=take, args=(name,), type="tertiary")


def _fields(start: TemplateView, section: str, values: Mapping[str, Any], draft: DraftView | None) -> None:
    """The section's inputs, two abreast, each with the sentence that says what is wrong with it."""
    shown = [field for field in run_form.FIELDS if field.section == section and field.when(values)]
    if not shown:
        st.caption("A screen of formulas makes no factor: nobody is valued, and nothing is paid.")
    for row in in_rows(shown, values):
        for cell, field in zip(st.columns(2) if len(row) == 2 else [st.container()], row, strict=True):
            with cell:
                draw_input(_key(start, field.path), field, values)
                if draft is not None and draft.fault and run_form.fault_at(draft.field, field.path):
                    wrong(draft.fault)


@st.dialog("Propose this run?", width="large")
def _confirm(client: ClientProtocol, question: DraftQuestion) -> None:
    """The agreement anew, as every operator will read it; then it is proposed as it was shown."""
    _outcome()
    if "proposal" not in st.session_state or st.session_state["proposal"][0] != question:
        draft = ask("the agreement", lambda: client.run_draft(question))
        if draft is None:
            return
        st.session_state["proposal"] = question, draft
    draft = st.session_state["proposal"][1]
    if draft.fault:
        wrong(draft.fault)
        return
    st.caption("This is what each party's operator reads. Nothing begins before every party's node has signed.")
    show_text(draft.text, draft.cautions)
    st.button("Propose", type="primary", icon=":material/send:", key="propose now", on_click=_propose, args=(client,))


def _propose(client: ClientProtocol) -> None:
    """Before the page is drawn again, in the dialog or whole: put what was shown before its parties."""
    draft = st.session_state["proposal"][1]
    try:
        st.session_state["proposed"] = client.propose_draft(draft)
    except EntenteError as error:
        st.session_state["refused"] = error
        return
    st.session_state.pop("proposal", None)
    st.session_state.pop("draft", None)


def _outcome() -> None:
    """Leave for the run that was just proposed, or say why it was not."""
    if run_id := st.session_state.pop("proposed", ""):
        go("run", run=run_id)
    if error := st.session_state.pop("refused", None):
        explain(error)
