"""One question to everything: runs, factors, members, entries of the journal and of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from parties.client import (
    AuditQuestion,
    ClientProtocol,
    EntenteError,
    FactorsQuestion,
    JournalQuestion,
    RunsQuestion,
    ViewerView,
)
from ui.empty_states import empty, explain
from ui.favourites import star
from ui.links import go, reachable
from ui.log_sentences import sentence
from ui.shared_reads import shared
from ui.tables.run import status_text
from ui.wording import correlation, instant, plain, short_id, when

__all__ = ["render"]

_MOST = 8
Hit = tuple[str, str, str, dict[str, str]]
"""What is found, what stands beside it, the page it is on, and that page's address."""
_FIELDS = {"ledger": "journal words", "trust": "audit words"}
"""The fields of those pages that ask for the same words."""


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page of what is asked for in the address (``?q=``)."""
    words = st.query_params.get("q", "").strip()[:200]
    st.title("Search")
    if not words:
        empty(
            "What are you looking for?",
            "A run, a factor, a member, a purpose, the beginning of an id, a word of a memo.",
        )
        return
    st.caption(f"Everything with “{plain(words, longest=80)}” that you may see.")
    star(client, "search", words)
    kinds: dict[str, tuple[str, Callable[[], Sequence[Hit]]]] = {
        "Runs": ("run", lambda: _runs(client, words)),
        "Factors": ("factor", lambda: _factors(client, words)),
        "Members": ("members", lambda: _members(client, viewer, words)),
        "Ledger": ("ledger", lambda: _journal(client, words)),
        "Audit log": ("trust", lambda: _log(client, words)),
    }
    found = 0
    for title, (page, read) in kinds.items():
        if not reachable(page) or (title == "Ledger" and viewer.role == "reader"):
            continue
        try:
            hits = read()
        except EntenteError as error:
            explain(error)
            continue
        found += len(hits)
        _show(title, hits, words)
    if not found:
        empty("Nothing fits", "Use fewer words, or the beginning of an id.")


def _show(title: str, hits: Sequence[Hit], words: str) -> None:
    if not hits:
        return
    st.subheader(title)
    for number, (name, beside, page, address) in enumerate(hits):
        with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{plain(name, longest=90)}**  \n{plain(beside, longest=160)}", width="content")
            if st.button("Open", key=f"{title} {number}"):
                if page in _FIELDS:
                    st.session_state[_FIELDS[page]] = words
                go(page, **address)


def _runs(client: ClientProtocol, words: str) -> list[Hit]:
    page = client.runs_page(RunsQuestion(text=words, limit=_MOST))
    return [
        (
            run.purpose or run.consortium,
            f"{short_id(run.run_id)} · {status_text(run)} · proposed {when(run.proposed_at)}",
            "run",
            {"run": run.run_id},
        )
        for run in page.runs
    ]


def _factors(client: ClientProtocol, words: str) -> list[Hit]:
    page = client.factor_page(FactorsQuestion(search=words, limit=_MOST))
    return [
        (
            card.factor_id,
            f"version {card.version} · rank IC {correlation(card.ic_joint)} · {card.purpose}",
            "factor",
            {"run": card.run_id},
        )
        for card in page.cards
    ]


def _members(client: ClientProtocol, viewer: ViewerView, words: str) -> list[Hit]:
    members = shared(client, viewer, "parties", client.parties, seconds=30)
    wanted = words.casefold().split()
    found: list[Hit] = []
    for one in members:
        text = " ".join((one.name, one.legal_entity, one.role, one.label_name, *one.columns)).casefold()
        if all(word in text for word in wanted):
            found.append((one.name, f"{one.legal_entity} · {one.role} · {one.health}", "members", {}))
    return found[:_MOST]


def _journal(client: ClientProtocol, words: str) -> list[Hit]:
    page = client.journal(JournalQuestion(text=words, limit=_MOST))
    return [
        (
            f"No. {entry.sequence}: {entry.narration}",
            f"{entry.state} · {instant(entry.at)}",
            "ledger",
            {"part": "Journal"},
        )
        for entry in page.entries
    ]


def _log(client: ClientProtocol, words: str) -> list[Hit]:
    page = client.audit_page(AuditQuestion(text=words, limit=_MOST))
    return [
        (f"Entry {entry.index}: {entry.kind.replace('_', ' ')}", sentence(entry.kind, entry.body), "trust", {})
        for entry in page.entries
    ]
