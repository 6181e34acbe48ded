"""The finished factor of a run: what it is, and its files to take away."""

from __future__ import annotations

import streamlit as st

from parties.client import ClientProtocol, EntenteError, FactorView
from ui.bundle import SUMS, check_archive
from ui.empty_states import explain
from ui.links import go
from ui.tables.run import files_table
from ui.text_table import show_text_table
from ui.wording import HELP, as_sentence, data_size, instant, listed, plain, short_id, things

__all__ = ["render"]


def render(client: ClientProtocol, factor: FactorView) -> None:
    """The section of a run's page."""
    st.subheader("The factor's files", help=HELP["sha256"])
    with st.container(border=True):
        words = [f"**{plain(factor.factor_id)}**", f"version {plain(factor.version)}" if factor.version else ""]
        words += [
            f"{things(factor.rows, 'rows')}" if factor.rows else "",
            data_size(factor.bytes) if factor.bytes else "",
        ]
        words.append(f"made {instant(factor.created_at)}" if factor.created_at else "")
        st.markdown(" · ".join(word for word in words if word))
        if factor.sha256:
            st.code(f"SHA-256 of {SUMS}: {factor.sha256}", language=None)
        if factor.recipients:
            st.caption(f"Sent to {plain(listed(factor.recipients))}.")
        with st.container(horizontal=True, vertical_alignment="center", key=f"take {factor.run_id}"):
            if st.button("Open the factor", icon=":material/query_stats:", key=f"factor of {factor.run_id}"):
                go("factor", run=factor.run_id)
            fetched = factor.available and _fetched(client, factor)
        if fetched:
            _download(factor)
        elif not factor.available:
            st.info("This coordinator is not among the recipients: the files are at the parties named above.")
    if factor.files:
        with st.expander(f"{things(len(factor.files), 'files')}", icon=":material/folder_zip:"):
            show_text_table(files_table(factor.files), alt="Files of the bundle", right=("Size",), code=("SHA-256",))


def _fetched(client: ClientProtocol, factor: FactorView) -> bool:
    """Whether the files are here; until they are, the button that fetches and checks them, once."""
    key = f"bundle {factor.run_id}"
    if key in st.session_state:
        return True
    if not st.button("Fetch and check the files", icon=":material/verified:", key=f"fetch {factor.run_id}"):
        return False
    try:
        with st.spinner("Fetching the files"):
            archive = client.download_factor(factor.run_id)
    except EntenteError as error:
        explain(error)
        return False
    st.session_state[key] = archive, check_archive(archive, factor)
    return True


def _download(factor: FactorView) -> None:
    """Hand over what was fetched. An archive that fails its check is not handed over."""
    key = f"bundle {factor.run_id}"
    archive, check = st.session_state[key]
    if not check.sound:
        named = plain(as_sentence("; ".join(check.faults[:5])))
        st.error(named, title="The files failed their check", icon=":material/gpp_bad:")
        if st.button("Fetch again", icon=":material/refresh:", key=f"refetch {factor.run_id}"):
            del st.session_state[key]
            st.rerun()
        return
    st.success(f"All {things(check.files, 'files')} have the fingerprints in {SUMS}.", icon=":material/verified:")
    st.download_button(
        f"Download the factor ({data_size(len(archive))})",
        archive,
        file_name=f"factor-{short_id(factor.run_id)}.zip",
        mime="application/zip",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
        key=f"save {factor.run_id}",
    )
