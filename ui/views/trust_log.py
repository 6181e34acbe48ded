"""The coordinator's audit log: verified on request, paged, searched, and proved entry by entry."""

from __future__ import annotations

import streamlit as st

from parties.client import AuditEntryView, AuditQuestion, ClientProtocol, EntenteError, LogCheckView
from ui.empty_states import ask, empty, explain
from ui.list_rows import choose_row
from ui.paging import offset_of, turn_pages
from ui.tables.trust import audit_table, exchanges_table, members_table, moment
from ui.text_table import show_text_table
from ui.wording import HELP, count, instant, listed, plain, short_id, things, when

__all__ = ["render", "render_heads", "verdict"]

_ROWS = 50
_CHECK = "audit log check"


def render(client: ClientProtocol) -> None:
    """The section of the log."""
    _verification(client)
    st.subheader("Entries", help=HELP["audit_log"])
    page = ask("the audit log", lambda: client.audit_page(_question(client)))
    if page is None:
        return
    if not page.total:
        if any(_filters()):
            empty("Nothing fits", "No entry fits these filters: take one of them away.")
        else:
            empty("No entry yet", "The coordinator writes one for each step of a run, and for what people do here.")
        return
    st.caption("Click a row for the entry as it was logged, and its proof.")
    chosen = choose_row(
        audit_table(page.entries), key=f"audit entries {page.offset} {page.total}", alt="Entries of the audit log",
        column_config={"What": st.column_config.TextColumn(width=340), "Entry": st.column_config.TextColumn(width=60)},
    )  # fmt: skip
    turn_pages(_pages(), page.total, _ROWS, "entries")
    if chosen is not None:
        _entry(client, page.entries[chosen])


def _question(client: ClientProtocol) -> AuditQuestion:
    words, kind, run = st.columns([3, 2, 2])
    text = words.text_input("Search", placeholder="Words in an entry", icon=":material/search:", key="audit words")
    kinds = ask("the kinds of entries", lambda: client.audit_page(AuditQuestion(limit=1)).kinds) or ()
    chosen = kind.selectbox("Kind", kinds, index=None, placeholder="all", key="audit kind")
    run_id = run.text_input("Run", placeholder="Id, or its first characters", key="audit run")
    asked = AuditQuestion(text=text[:200], kind=chosen or "", run_id=run_id.strip()[:64], limit=_ROWS)
    return asked.model_copy(update={"offset": offset_of(_pages(), _ROWS)})


def _pages() -> str:
    """Other filters begin at their own first page."""
    return f"audit pages {_filters()}"


def _filters() -> list[str]:
    return [st.session_state.get(key) or "" for key in ("audit words", "audit kind", "audit run")]


def _verification(client: ClientProtocol) -> None:
    with st.container(border=True):
        words, button = st.columns([4, 1], vertical_alignment="center")
        words.markdown("**Is the log what it was?**", help=HELP["audit_check"])
        words.caption("Reads every entry anew, and holds every signed head against it, as `entente audit verify` does.")
        if button.button("Verify now", type="primary", icon=":material/verified:", key="verify log", width="stretch"):
            try:
                with st.spinner("Reading and checking every entry"):
                    st.session_state[_CHECK] = client.check_audit()
            except EntenteError as error:
                st.session_state.pop(_CHECK, None)
                explain(error)
        if _CHECK in st.session_state:
            _answer(st.session_state[_CHECK])


def _answer(check: LogCheckView) -> None:
    if check.sound:
        told = f"{things(check.size, 'entries')} and {things(check.own_heads, 'signed heads')}, all in order."
        seen = listed([f"{count(number)} of {plain(name)}" for name, number in check.others.items()])
        if seen:
            told += f" Heads of other logs were seen, none at odds with another: {seen}."
        st.success(told, title="The log is sound", icon=":material/verified:")
        if check.unlinked:
            begun = "is signed, but begins" if check.unlinked == 1 else "are signed, but begin"
            st.caption(f"{things(check.unlinked, 'heads')} {begun} after one that was not seen here.")
        st.code(f"root {check.root}", language=None)
    else:
        faults = "\n".join(f"- {plain(fault)}" for fault in check.faults[:10])
        told = f"{faults}\n\nKeep this database as evidence, and restore a backup beside it."
        st.error(told, title="The log is not sound", icon=":material/gpp_bad:")
    st.caption(f"Checked {when(check.checked_at)}.", help=instant(check.checked_at))


def _entry(client: ClientProtocol, entry: AuditEntryView) -> None:
    with st.container(border=True):
        st.markdown(f"**Entry {entry.index}** · {plain(entry.kind)} · {plain(moment(entry.at))}")
        if entry.run_id:
            st.caption(f"Run {plain(short_id(entry.run_id))}")
        st.code(entry.text, language="json", wrap_lines=True)
        st.caption(f"Leaf hash {entry.leaf}", help=HELP["leaf"])
        st.download_button(
            "Download the proof",
            lambda: client.audit_proof(entry.index),
            file_name=f"entry-{entry.index}-proof.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
            help=HELP["proof"],
            key=f"proof {entry.index}",
        )
        st.caption("Anyone with the roster checks it offline: `entente audit check FILE --roster roster.json`.")


def verdict() -> None:
    """What the last check of this visit found, as a badge that stays on every part of the page."""
    check: LogCheckView | None = st.session_state.get(_CHECK)
    if check is None:
        st.badge("log not checked in this visit", color="gray", icon=":material/help:", help=HELP["audit_check"])
    elif check.sound:
        st.badge("log sound", color="green", icon=":material/verified:", help=f"Checked {instant(check.checked_at)}.")
    else:
        st.badge("log not sound", color="red", icon=":material/gpp_bad:", help=f"Checked {instant(check.checked_at)}.")


def render_heads(client: ClientProtocol) -> None:
    """The section of signed heads."""
    heads = ask("signed heads", client.audit_heads)
    if heads is None:
        return
    st.subheader("Latest heads", help=HELP["head"])
    st.caption("With each command the coordinator shows a node all others' heads, so a log cut or forked is caught.")
    if wrong := [member.name for member in heads.members if member.heads and not member.fits]:
        st.error(f"The latest head of {plain(', '.join(wrong))} is not signed by its key in the roster.")
    if heads.members:
        show_text_table(members_table(heads), alt="Latest signed head of each member", code=("Root",))
    else:
        empty("No member", "Heads appear here once parties report on their first phase.")
    st.subheader("Exchanges", help=HELP["exchange"])
    if heads.exchanges:
        show_text_table(exchanges_table(heads), alt="Heads that came with reports", code=("Run", "Root"), tall=True)
        st.caption("Of the 20 newest runs.")
    else:
        empty("None yet", "A head comes with every report of a party on a phase.")
