"""The pages of the site: which there are, and who sees them.

A view is one module with ``render(client, viewer)``; adding a page is adding a line to :data:`PAGES`. What a role may
not see is left out of the navigation here and refused by the coordinator all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from parties.client import ClientProtocol, Role, ViewerView
from ui.astray import NOWHERE
from ui.empty_states import empty
from ui.glance import own_to_do
from ui.links import remember
from ui.views import (
    compare,
    contributions,
    factor_page,
    factors,
    guides,
    ledger,
    members,
    new_run,
    not_found,
    overview,
    run,
    runs,
    search,
    settings,
    settlement,
    trust,
)

__all__ = ["PAGES", "Page", "lay_out"]

_EVERYONE: tuple[Role, ...] = ("admin", "operator", "auditor", "reader")
_CONCERNED: tuple[Role, ...] = ("admin", "operator", "auditor")


@dataclass(frozen=True)
class Page:
    """One page: ``key`` is its path. ``section`` groups pages in the navigation, in which a ``detail`` has no place."""

    key: str
    title: str
    icon: str
    render: Callable[[ClientProtocol, ViewerView], None]
    section: str = ""
    roles: tuple[Role, ...] = _EVERYONE
    detail: bool = False


PAGES: tuple[Page, ...] = (
    Page("overview", "Overview", ":material/dashboard:", overview.render),
    Page("runs", "Runs", ":material/list:", runs.render, "Runs"),
    Page("new_run", "New run", ":material/add_circle:", new_run.render, "Runs", ("admin",)),
    Page("run", "Run", ":material/monitoring:", run.render, "Runs", detail=True),
    Page("factors", "Factors", ":material/query_stats:", factors.render, "Results"),
    Page("factor", "Factor", ":material/insights:", factor_page.render, "Results", detail=True),
    Page("compare", "Compare", ":material/compare_arrows:", compare.render, "Results"),
    Page("contributions", "Contributions", ":material/group_work:", contributions.render, "Results", _CONCERNED),
    Page("ledger", "Ledger", ":material/balance:", ledger.render, "Money"),
    Page("settlement", "Settlement", ":material/handshake:", settlement.render, "Money", _CONCERNED),
    Page("trust", "Trust", ":material/verified_user:", trust.render, "Consortium", _CONCERNED),
    Page("members", "Members", ":material/groups:", members.render, "Consortium"),
    Page("search", "Search", ":material/search:", search.render, "Consortium", detail=True),
    Page(NOWHERE, "No such page", ":material/wrong_location:", not_found.render, "Consortium", detail=True),
    Page("guides", "Guides", ":material/menu_book:", guides.render, "Consortium"),
    Page("settings", "Settings", ":material/settings:", settings.render, "Consortium"),
)


def lay_out(client: ClientProtocol, viewer: ViewerView) -> StreamlitPage:
    """The navigation as the viewer's role sees it, and the page that was asked for; ``run()`` shows it."""
    pages: dict[str, StreamlitPage] = {}
    sections: dict[str, list[StreamlitPage]] = {}
    for page in PAGES:
        if viewer.role not in page.roles:
            foreign = st.Page(partial(_not_for, viewer, page), title=page.title, url_path=page.key, visibility="hidden")
            sections.setdefault(page.section, []).append(foreign)
            continue
        first = not pages
        waits = own_to_do(client, viewer) if page.key == "overview" else 0
        shown = st.Page(
            partial(page.render, client, viewer),
            title=f"{page.title} ({waits})" if waits else page.title,
            icon=page.icon,
            url_path="home" if first else page.key,
            default=first,
            visibility="hidden" if page.detail else "visible",
        )
        pages[page.key] = shown
        sections.setdefault(page.section, []).append(shown)
        if first:  # the first page is at the root; its name leads there as well
            again = partial(page.render, client, viewer)
            sections[page.section].append(st.Page(again, title=page.title, url_path=page.key, visibility="hidden"))
    remember(pages)
    return st.navigation(sections, expanded=True)


def _not_for(viewer: ViewerView, page: Page) -> None:
    """What somebody finds whose role may not see a page, instead of no page at all."""
    st.title(page.title)
    *others, last = page.roles
    named = f"roles {', '.join(others)} and {last}" if others else f"role {last}"
    empty(f"Not for the role {viewer.role}", f"This page is for the {named}. An admin grants roles.")
