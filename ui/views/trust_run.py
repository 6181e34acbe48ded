"""What a run revealed to whom, and what its parties agreed and signed."""

from __future__ import annotations

import streamlit as st

from parties.client import AgreementText, ClientProtocol, MinimisationView, RunsQuestion
from ui.agreement_text import show_text
from ui.charts.drawn_once import draw
from ui.charts.runs import openings_chart
from ui.charts.trust import links_chart
from ui.empty_states import ask, empty
from ui.tables.trust import revealed_table, signers_table, terms_table
from ui.text_table import show_text_table
from ui.wording import HELP, as_sentence, count, data_size, listed, plain, short_id, things

__all__ = ["render_agreement", "render_revealed"]

_MOST_OFFERED = 50


def _choose(client: ClientProtocol) -> str:
    """A run found by words; the choice stands in the address, so that a page can be shared."""
    words, which = st.columns([2, 3])
    text = words.text_input("Find a run", placeholder="Purpose, party, id", icon=":material/search:", key="run words")
    page = ask("runs", lambda: client.runs_page(RunsQuestion(text=text[:200], limit=_MOST_OFFERED)))
    if page is None:
        return ""
    named = {r.run_id: f"{short_id(r.run_id)} · {r.purpose or r.consortium} · {r.status}" for r in page.runs}
    wanted = st.query_params.get("run", "")
    if wanted and wanted not in named and not text:
        named = {wanted: short_id(wanted)} | named
    if not named:
        if text:
            empty("No run fits", "Use fewer words.")
        else:
            empty("No run yet", "A run appears here as soon as an admin proposes one.")
        return ""
    ids = list(named)
    chosen = which.selectbox(
        "Run", ids, index=ids.index(wanted) if wanted in named else 0, format_func=named.__getitem__, key="trusted run"
    )
    if chosen != wanted:
        st.query_params["run"] = chosen
    return str(chosen)


def render_revealed(client: ClientProtocol) -> None:
    """The data-minimisation report of one run."""
    run_id = _choose(client)
    if not run_id:
        return
    report = ask("what the run revealed", lambda: client.minimisation(run_id))
    if report is None:
        return
    if not report.lines and not report.openings:
        empty("Nothing has left anybody", "The parties report what they sent when a phase has ended.")
        return
    _summary(report)
    if report.opens:
        st.markdown("**What the label party learns of the feature parties' data**", help=HELP["reveals"])
        st.markdown("\n".join(f"- {plain(as_sentence(line), longest=2000)}" for line in report.opens))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Bytes by link**", help=HELP["bytes"])
        draw(links_chart, report, alt="Megabytes from each sender to each receiver, by class")
    with right:
        if report.score_bits:
            st.markdown("**Scores of the most opened row**", help=HELP["scores"])
            st.caption(f"{report.score_bits} bits each, counted by the anchor, {plain(report.anchor)}.")
        else:
            st.markdown("**Openings of the most opened row**", help=HELP["openings"])
        counted = tuple(one for one in report.openings if not report.score_bits or one.party == report.anchor)
        if counted:
            what = "scores" if report.score_bits else "openings"
            draw(openings_chart, counted, what, alt=f"{what.title()} used against the limit")
        else:
            st.caption("Nothing was opened.")
    st.subheader("Message by message", help=HELP["reveals"])
    show_text_table(revealed_table(report), alt="What each message type reveals", right=("Size",), tall=True)
    st.caption(
        "As each sender's node reported it. A party's own record, transcripts included, is in its audit log: "
        "`entente audit report RUN --home DIR`."
    )


def _summary(report: MinimisationView) -> None:
    total, kinds = sum(line.bytes for line in report.lines), {line.message for line in report.lines}
    used = max((o.max_used for o in report.openings), default=0)
    limit = min((o.limit for o in report.openings), default=0)
    cells = st.columns(4)
    cells[0].metric("Sent in all", data_size(total), border=True, help=HELP["bytes"])
    cells[1].metric("Message types", count(len(kinds)), border=True, help=HELP["reveals"])
    label, meaning = ("Scores per row", "scores") if report.score_bits else ("Openings per row", "openings")
    cells[2].metric(label, f"{used} of {limit}" if limit else "none", border=True, help=HELP[meaning])
    cells[3].metric("Common entities", count(report.n_common), border=True, help=HELP["common"])
    if report.factor_to:
        st.caption(f"The factor's files went to {plain(listed(report.factor_to))}.")


def render_agreement(client: ClientProtocol) -> None:
    """One agreement: in words, in full, signed by whom, and as the canonical document."""
    run_id = _choose(client)
    if not run_id:
        return
    found = ask("the agreement", lambda: client.agreement(run_id))
    if found is None:
        return
    _signatures(found)
    st.subheader("In words", help=HELP["agreement"])
    show_text(found.text, found.cautions)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download the canonical document",
            lambda: client.agreement_file(run_id),
            file_name=f"agreement-{short_id(run_id)}.json",
            mime="application/json",
            icon=":material/download:",
            on_click="ignore",
            help=HELP["canonical"],
            key=f"canonical {run_id}",
        )
        st.caption(f"Its SHA-256 is the run id: `sha256sum` prints {plain(short_id(run_id))}…", width="content")
    st.subheader(f"All {things(len(found.terms), 'terms')}")
    show_text_table(terms_table(found.terms), alt="Every term of the agreement", group="Section", tall=True)


def _links(found: AgreementText) -> None:
    """What would keep messages from a peer, named before anybody signs."""
    for signer in found.signers:
        other = [peer for peer, state in signer.links.items() if state == "other"]
        silent = [peer for peer, state in signer.links.items() if state == "silent"]
        if other:
            st.warning(
                f"{plain(signer.party)} found another certificate than the agreed one at the address of "
                f"{plain(', '.join(other))}: ask whether that node was rotated, and propose again.",
                icon=":material/link_off:",
            )
        if silent:
            st.warning(
                f"{plain(signer.party)} reached nobody at the address of {plain(', '.join(silent))}: messages go "
                "through the coordinator, where the node's settings allow it.", icon=":material/link_off:",
            )  # fmt: skip


def _signatures(found: AgreementText) -> None:
    wrong = [signer for signer in found.signers if signer.fault]
    if not found.faithful:
        st.error(
            "The document's fingerprint is not the run id: what is kept here is not what was agreed.",
            title="Not the agreed document", icon=":material/gpp_bad:",
        )  # fmt: skip
    elif any(signer.signature for signer in wrong):
        named = "; ".join(f"{signer.party}: {signer.fault}" for signer in wrong if signer.signature)
        st.error(
            plain(as_sentence(named, [signer.party for signer in wrong])),
            title="A signature does not fit",
            icon=":material/gpp_bad:",
        )
    elif wrong:
        st.warning(
            f"Still to sign, or never signed: {plain(listed([signer.party for signer in wrong]))}.",
            title="Not signed by everybody", icon=":material/ink_pen:",
        )  # fmt: skip
    else:
        st.success(
            f"All {things(len(found.signers), 'parties')} signed this document, each with the key that it names "
            "for them.",
            title="Signed by everybody", icon=":material/verified:",
        )  # fmt: skip
    _links(found)
    show_text_table(
        signers_table(found.signers), alt="Signatures, checked now", code=("Ed25519 key", "Ed25519 signature")
    )
