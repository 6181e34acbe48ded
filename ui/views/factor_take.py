"""Whether a factor's files are as signed, and the files to take away."""

from __future__ import annotations

from functools import partial

import streamlit as st

from parties.client import ClientProtocol, EntenteError, FactorCard, FactorCheck, FactorDetail, FactorForm
from ui.empty_states import explain
from ui.factor_files import FORM_HINTS, FORM_TITLES, file_name, mime_of, taken
from ui.tables.trust import moment
from ui.wording import HELP, data_size, instant, plain, things

__all__ = ["answer", "badge", "checked", "downloads", "verification"]


def checked(client: ClientProtocol, card: FactorCard) -> FactorCheck | None:
    """What verifying found, worked out by the coordinator when the page is opened and whenever it is asked again."""
    if not card.available:
        return None
    key = f"check {card.run_id} {card.sha256}"
    again = st.session_state.pop(f"{key} again", False)
    if again or key not in st.session_state:
        try:
            with st.spinner("Verifying hashes, signatures and logs"):
                st.session_state[key] = client.check_factor(card.run_id)
        except EntenteError as error:
            explain(error)
            return None
    found: FactorCheck = st.session_state[key]
    return found


def badge(card: FactorCard, check: FactorCheck | None) -> None:
    """The verdict in a word, beside the title."""
    if check is None:
        where = "not verified" if card.available else "files at the recipients"
        st.badge(where, color="gray", icon=":material/cloud_off:", help=HELP["verified"])
    elif check.sound:
        st.badge("Verified", color="green", icon=":material/verified:", help=HELP["verified"])
    else:
        st.badge("Not as signed", color="red", icon=":material/gpp_bad:", help=HELP["verified"])


def verification(card: FactorCard, check: FactorCheck | None) -> None:
    """A green or a red answer, and what it rests on."""
    st.subheader("Verification", help=HELP["verified"])
    if not card.available:
        st.caption("There is no copy here to verify. A recipient verifies its own with `entente factors verify DIR`.")
        return
    if check is not None:
        answer(check)
    key = f"check {card.run_id} {card.sha256}"
    st.button(
        "Verify again", icon=":material/refresh:", key=f"{key} button",
        on_click=lambda: st.session_state.update({f"{key} again": True}),
    )  # fmt: skip


def answer(check: FactorCheck) -> None:
    """The verdict with what it rests on: green, or red with the files that differ."""
    if check.sound:
        by = plain(", ".join(signer.signer for signer in check.signers))
        st.success(
            f"{things(check.files, 'files')} are as signed by {by}, with the key in the agreement.",
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


def downloads(client: ClientProtocol, detail: FactorDetail, check: FactorCheck | None) -> None:
    """The files by format; only where they verify."""
    st.subheader("Files", help=HELP["sha256"])
    if not detail.may_download:
        st.caption("No files to take away here.")
        return
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
