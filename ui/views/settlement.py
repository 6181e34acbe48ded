"""Settlement: where each run's reward stands, what a step would do, and whose approval is asked for."""

from __future__ import annotations

import re

import streamlit as st

from parties.client import (
    ApproverView,
    ClientProtocol,
    DossierView,
    SettlementPage,
    SettlementQuestion,
    SettlementStep,
    SettlementView,
    StatementQuestion,
    StepQuestion,
    ViewerView,
    WithdrawQuestion,
)
from ui.empty_states import ask, empty
from ui.incidents import live_part
from ui.list_rows import choose_row
from ui.made_files import made_file
from ui.money import (
    APPROVER_WORDS,
    STATE_LOOKS,
    dossier_words,
    final_table,
    settlements_table,
    steps_table,
)
from ui.paging import offset_of, turn_pages
from ui.shared_reads import latest, shared
from ui.text_table import show_text_table
from ui.views.money_steps import CASH_STEPS, money_steps
from ui.views.step_plan import show_plan, show_reasons
from ui.wording import HELP, Colour, amount, as_sentence, instant, listed, plain, short_id, things, when

__all__ = ["render"]

_ROWS = 25
_LINES = 66  # pixels of a row: from 64 on, Streamlit breaks what is longer than its column
_REFRESH_SECONDS = 3.0
_RUN = re.compile("[0-9a-f]{64}")
_PAGES = "settlement pages"
_ACTS = "settlement acts"
_RIGHT = st.column_config.TextColumn(alignment="right", width=125)
_STEPS = {
    "close": "Close", "final": "Finalise", "void": "Void", "judgement": "Judge a dispute", **CASH_STEPS,
}  # fmt: skip
_LOOKS: dict[str, tuple[Colour, str]] = {
    "approved": ("green", ":material/check_circle:"),
    "refused": ("red", ":material/cancel:"),
    "asked": ("blue", ":material/schedule_send:"),
    "may": ("gray", ":material/draw:"),
}


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    st.title("Settlement")
    st.caption(
        "A reward is pending from a run's close until live data has spoken and different people have approved what "
        "becomes of it. Asking is done here; approving at each party's node.",
        help=HELP["four_eyes"],
    )
    live_part(_asked_for, run_every=_REFRESH_SECONDS)(client, viewer)
    live_part(_runs)(client, viewer)
    live_part(money_steps)(client, viewer, _acted)


def _asked_for(client: ClientProtocol, viewer: ViewerView) -> None:
    """What waits for approval now; refreshes by itself."""
    question = SettlementQuestion(limit=1)
    read = f"settlements {st.session_state.get(_ACTS, 0)}"  # what this session did is seen by it at once
    page = latest("settlements", lambda: shared(client, viewer, read, lambda: client.settlements(question)))
    if page is None:
        if st.button("Try again", icon=":material/refresh:", key="again settlements"):
            st.rerun()
        return
    waiting = [dossier for dossier in page.dossiers if dossier.state == "open"]
    if waiting:
        st.subheader("Waiting for approval")
    for dossier in waiting:
        _card(client, viewer, dossier)


def _card(client: ClientProtocol, viewer: ViewerView, dossier: DossierView) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{_STEPS.get(dossier.kind, plain(dossier.kind))}** · {_about(dossier)}", width="content")
            st.badge(dossier_words(dossier), color="orange", icon=":material/group:", help=HELP["four_eyes"])
        st.progress(min(1.0, dossier.approved / dossier.needed))
        _people(dossier.approvers)
        st.caption(
            f"Asked by {plain(dossier.asked_by, longest=60)} {when(dossier.asked_at)} · dossier "
            f"`{dossier.digest[:12]}`", help=f"Asked {instant(dossier.asked_at)}. {HELP['dossier']}",
        )  # fmt: skip
        with st.expander("Reasons and amounts"):
            show_reasons(dossier.reasons, [person.name for person in dossier.approvers])
            show_text_table(steps_table(dossier.steps), alt="What would be posted", right=("Debit", "Credit"))
        if viewer.role == "admin":
            _withdraw(client, dossier)


def _about(dossier: DossierView) -> str:
    return f"run `{short_id(dossier.run_id)}`" if dossier.run_id else plain(dossier.party) or "payees"


def _people(people: tuple[ApproverView, ...]) -> None:
    """Who approved, who is asked, who refused and why."""
    with st.container(horizontal=True):
        for person in people:
            colour, icon = _LOOKS[person.state]
            away = ", node offline" if person.state == "asked" and not person.online else ""
            st.badge(f"{plain(person.name)}: {APPROVER_WORDS[person.state]}{away}", color=colour, icon=icon)
    for person in people:
        if person.state == "refused":
            st.warning(f"{plain(person.name)} refused: {plain(person.why.rstrip('.'))}.", icon=":material/cancel:")


def _withdraw(client: ClientProtocol, dossier: DossierView) -> None:
    with st.popover("Withdraw", icon=":material/undo:"):
        st.markdown("Nobody is asked any more, and the approvals so far count for nothing.")
        why = st.text_input("Why", key=f"why {dossier.digest}", max_chars=300)
        if st.button("Withdraw the request", key=f"withdraw {dossier.digest}", type="primary"):
            asked = WithdrawQuestion(digest=dossier.digest, why=why.strip())
            if ask("the withdrawal", lambda: client.withdraw_settlement(asked)) is not None:
                _acted("Withdrawn. The nodes are told.")


def _acted(words: str) -> None:
    """Say it, and show everything as it is now."""
    st.session_state[_ACTS] = st.session_state.get(_ACTS, 0) + 1
    st.toast(words)
    st.rerun()


def _runs(client: ClientProtocol, viewer: ViewerView) -> None:
    """Where each run stands; one is chosen and looked at."""
    st.subheader("Runs")
    question = SettlementQuestion(limit=_ROWS, offset=offset_of(_PAGES, _ROWS))
    page = ask("the runs", lambda: client.settlements(question))
    if page is None:
        return
    wanted, alone = st.query_params.get("run", ""), ""
    if wanted and _RUN.fullmatch(wanted) and all(run.run_id != wanted for run in page.runs):
        found = _alone(client, wanted)
        page, alone = (page, "") if found is None else (found, wanted)
    if not page.runs:
        empty("Nothing to settle yet", "A run with a reward appears here once its contributions are valued.")
        return
    chosen = _choose(page)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        turn_pages(_PAGES, page.total, _ROWS, "runs")
        st.download_button(
            f"Export {things(page.total, 'runs')} as CSV",
            lambda: client.settlements_export(SettlementQuestion(run_id=alone)),
            file_name="settlements.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    _run(client, viewer, chosen)
    _history(page)


def _alone(client: ClientProtocol, run_id: str) -> SettlementPage | None:
    """A run that the address names and that this page of the list has not, with a way back to all."""
    asked = SettlementQuestion(run_id=run_id)
    found = ask("the run", lambda: client.settlements(asked))
    if found is None or not found.runs:
        return None
    if st.button("All runs", icon=":material/list:", type="tertiary", key="all settlements"):
        del st.query_params["run"]
        st.rerun()
    return found


def _choose(page: SettlementPage) -> SettlementView:
    """The run that a row is chosen of; at first the one that the address names."""
    table, ids = settlements_table(page.runs), [run.run_id for run in page.runs]
    wanted = st.query_params.get("run", "")
    first = ids.index(wanted) if wanted in ids else 0
    chosen = choose_row(
        table, key="settlement runs", first=first, alt="Where each run's reward stands",
        row_height=_LINES if any(run.waits for run in page.runs) else None,
        column_config={
            "Booked": _RIGHT, "Stands": st.column_config.TextColumn(width=115),
            "Purpose": st.column_config.TextColumn(width=150),
            "Live periods": st.column_config.TextColumn(width=85, help=HELP["live_record"]),
            "Waits for": st.column_config.TextColumn(width=290),
        },
    )  # fmt: skip
    return page.runs[first if chosen is None else chosen]


def _run(client: ClientProtocol, viewer: ViewerView, run: SettlementView) -> None:
    word, colour, icon = STATE_LOOKS[run.state]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(run.purpose or run.consortium, longest=90)}**", width="content")
            st.badge(word, color=colour, icon=icon, help=HELP["pending"] if run.state == "pending" else None)
        st.caption(
            f"Run `{short_id(run.run_id)}` · {amount(run.amount, run.unit, run.scale)} booked of a pot of "
            f"{amount(run.pot, run.unit, run.scale)} · closed {when(run.closed_at) if run.closed_at else 'not yet'}",
            help=f"Closed {instant(run.closed_at)}." if run.closed_at else None,
        )
        kinds = _kinds(run)
        for why in () if kinds else run.waits:  # the dry run below says what stands against it
            st.markdown(f":material/hourglass_top: {plain(as_sentence(why))}")
        if run.disputes:
            st.warning(f"Disputed by {plain(listed(run.disputes))}.", icon=":material/gavel:")
        elif run.disputable_until is not None:
            st.caption(f"Can be disputed until {instant(run.disputable_until)}.", help=HELP["dispute"])
        if run.dossier:
            st.info("Approval is asked for: see above.", icon=":material/group:")
        if run.outcomes:
            _became(client, viewer, run)
        if kinds:
            _dry_run(client, viewer, run, kinds)


def _became(client: ClientProtocol, viewer: ViewerView, run: SettlementView) -> None:
    """What each party got in the end, and its statement."""
    final = final_table(run.outcomes, run.unit, run.scale)
    show_text_table(final, alt="What each party got", right=list(final.columns[1:]), total=True)
    shown = [one.party for one in run.outcomes if viewer.role != "operator" or one.party == viewer.party]
    if shown:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            party = st.selectbox("Statement of", shown, format_func=plain, key=f"paid {run.run_id}", width=260)
            asked = StatementQuestion(party=party)
            name = f"statement-{party}.pdf"
            made_file("Statement as PDF", name, "application/pdf", lambda: client.statement(asked), run.run_id)


def _kinds(run: SettlementView) -> list[str]:
    """The steps that make sense from here."""
    if run.state == "to close":
        return ["close"]
    if run.state in ("pending", "due"):
        return ["final", "void", *(["judgement"] if run.disputes else [])]
    return []


def _dry_run(client: ClientProtocol, viewer: ViewerView, run: SettlementView, kinds: list[str]) -> None:
    """The numbers of a step, and asking for it."""
    st.markdown("##### Dry run", help=HELP["dry_run"])
    kind = st.segmented_control(
        "Step", kinds, default=kinds[0], format_func=_STEPS.__getitem__, key=f"step {run.run_id}", required=True
    )
    asked = _question(run, kind or kinds[0])
    plan = ask("the dry run", lambda: client.settlement_plan(asked))
    if plan is None:
        return
    show_plan(plan)
    if viewer.role != "admin":
        st.caption("An admin asks for approval; each party approves at its own node.")
        return
    if plan.blocked or run.dossier:
        return
    words = f"Ask for approval: {_STEPS[plan.kind].lower()}"
    if st.button(words, type="primary", icon=":material/send:", key=f"ask {run.run_id} {plan.kind}"):
        step = SettlementStep(**asked.model_dump(), shown=plan.steps)
        if ask("the request", lambda: client.ask_settlement(step)) is not None:
            _acted("Asked. The request is carried to each approver's node.")


def _question(run: SettlementView, kind: str) -> StepQuestion:
    party, upheld, why = "", False, ""
    if kind == "judgement":
        left, right = st.columns(2)
        party = left.selectbox("Dispute of", run.disputes, format_func=plain, key=f"accuser {run.run_id}") or ""
        upheld = right.segmented_control(
            "Judgement", ["upheld", "rejected"], default="rejected", key=f"judgement {run.run_id}", required=True
        ) == "upheld"  # fmt: skip
    if kind in ("void", "judgement"):
        why = st.text_input("Why (everybody who is asked reads it)", key=f"why {kind} {run.run_id}", max_chars=300)
    return StepQuestion.model_validate(
        {"run_id": run.run_id, "kind": kind, "party": party, "upheld": upheld, "why": why}
    )


def _history(page: SettlementPage) -> None:
    """What was asked for and is over."""
    over = [dossier for dossier in page.dossiers if dossier.state != "open"]
    if not over:
        return
    st.subheader("Asked for before")
    for dossier in over[:10]:
        done = dossier.state == "posted"
        with st.container(border=True):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{_STEPS.get(dossier.kind, plain(dossier.kind))}** · {_about(dossier)}", width="content")
                st.badge("posted" if done else "not posted", color="green" if done else "gray")
                st.caption(f"asked {when(dossier.asked_at)}", width="content", help=instant(dossier.asked_at))
            if dossier.ended:
                st.caption(plain(dossier.ended))
            _people(tuple(person for person in dossier.approvers if person.state in ("approved", "refused")))
