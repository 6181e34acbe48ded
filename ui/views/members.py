"""Members: who belongs, what they bring, how long they are good for; inviting, withdrawing, putting out."""

from __future__ import annotations

import streamlit as st

from parties.client import (
    ClientProtocol,
    InvitationQuestion,
    InvitationView,
    InviteView,
    MemberQuestion,
    MemberView,
    ViewerView,
)
from ui.empty_states import ask, empty
from ui.incidents import live_part
from ui.members import (
    HEALTH_LOOKS,
    LIFETIMES,
    certificate_words,
    checked_words,
    code_picture,
    columns_table,
    data_look,
    seen_words,
    warnings,
)
from ui.shared_reads import latest, shared
from ui.text_table import show_text_table
from ui.views.overlap_form import overlap_form
from ui.views.overlaps import overlaps_card
from ui.wording import HELP, MISSING, Colour, instant, plain, things, with_commands

__all__ = ["render"]

_REFRESH_SECONDS = 5.0
_CERTIFICATE: dict[str, tuple[str, str, Colour]] = {
    "good": ("certificate good", ":material/badge:", "green"),
    "soon": ("certificate ends soon", ":material/event_upcoming:", "orange"),
    "over": ("certificate ended", ":material/event_busy:", "red"),
}


def render(client: ClientProtocol, viewer: ViewerView) -> None:
    """The page."""
    st.title("Members")
    live_part(_present, run_every=_REFRESH_SECONDS)(client, viewer)
    if viewer.role != "reader":
        live_part(overlaps_card, run_every=_REFRESH_SECONDS)(client, viewer)
        if viewer.role == "admin":
            live_part(overlap_form)(client)
    if viewer.role == "admin":
        st.subheader("Invite a party", help=HELP["invitation"])
        live_part(_invite)(client)
        live_part(_open_invitations, run_every=_REFRESH_SECONDS)(client)


def _present(client: ClientProtocol, viewer: ViewerView) -> None:
    """Everybody, as of now; refreshes by itself."""
    members = latest("members", lambda: shared(client, viewer, "members", client.members))
    if members is None:
        if st.button("Try again", icon=":material/refresh:", key="again members"):
            st.rerun()
        return
    if not members:
        empty("No party yet", "Invite one: it joins with the token, and appears here.")
        return
    for told in warnings(members, admin=viewer.role == "admin"):
        st.warning(with_commands(told), icon=":material/event_busy:")
    for member in members:
        _member(client, viewer, member)


def _member(client: ClientProtocol, viewer: ViewerView, member: MemberView) -> None:
    """One row: who it is, its node, its data and its certificate; what else there is unfolds below."""
    with st.container(border=True, gap="small", key=f"member {member.name}"):
        who, node, data, good, act = st.columns([5, 4, 5, 5, 3], vertical_alignment="center")
        role = f"{member.role} party" if member.role else "role unknown until it joins"
        who.markdown(f"**{plain(member.name)}** · {role}  \n{plain(member.legal_entity or MISSING, longest=80)}")
        word, colour, icon = HEALTH_LOOKS[member.health]
        node.badge(word, color=colour, icon=icon)
        node.caption(seen_words(member), help=f"Last heard of {instant(member.last_seen)}.")
        word, colour, icon = data_look(member)
        data.badge(word, color=colour, icon=icon, help=HELP["data_check"])
        told = f"Queries last tried {instant(member.data_checked)}." if member.data_checked else None
        data.caption(with_commands(checked_words(member)), help=told)
        word, icon, colour = _CERTIFICATE[member.certificate]
        good.badge(word, color=colour, icon=icon, help=HELP["certificate"])
        good.caption(certificate_words(member), help=f"Until {instant(member.certificate_expires)}.")
        if viewer.role == "admin":
            with act:
                _revoke(client, member)
        with st.expander(f"What it brings: {things(len(member.columns), 'columns')}", key=f"brings {member.name}"):
            _brings(member)


def _brings(member: MemberView) -> None:
    st.caption(f"{plain(member.address)} · version {plain(member.version or MISSING)}")
    if member.label_name:
        st.markdown(f"Label **{plain(member.label_name)}**: {plain(member.label_definition)}")
    if member.columns and member.units:
        show_text_table(columns_table(member), alt=f"Columns of {member.name}")
    elif member.columns:
        st.markdown(plain(", ".join(member.columns), longest=20_000))
    elif member.label_name:
        st.caption("It brings labels alone, no columns.")
    else:
        st.caption("Its node has not said what it brings since the coordinator started.")
    if member.limits is not None:
        hours = f"signs {plain(member.limits.hours)} UTC" if member.limits.hours else "signs at any hour"
        st.markdown(
            f"Opens a row at most **{member.limits.openings_per_row}** times, at most "
            f"**{100 * member.limits.largest_fraction:.0f} %** of its features' linear forms; {hours}.",
            help=HELP["limits"],
        )
    st.caption(f"Identity `{member.identity_key}`   \nCertificate `{member.certificate_sha256}`")


def _revoke(client: ClientProtocol, member: MemberView) -> None:
    with st.popover("Put out", width="stretch"):
        st.markdown(
            "Its certificate is refused at once, its runs under way end, and every party is told. Money that is booked "
            "stays booked. To come back it must be invited again."
        )
        said = st.text_input(f"Type {plain(member.name)} to confirm", key=f"confirm {member.name}")
        sure = said.strip() == member.name
        if st.button("Put out for good", key=f"revoke {member.name}", type="primary", disabled=not sure):
            asked = MemberQuestion(name=member.name)
            if ask("the revocation", lambda: client.revoke(asked)) is not None:
                st.toast("Put out. Every party is told.")
                st.rerun()


def _invite(client: ClientProtocol) -> None:
    """Name, role and time; then the token, this once."""
    with st.form("invitation", clear_on_submit=True):
        who, what, long = st.columns([3, 2, 2])
        name = who.text_input("Name", placeholder="orbit", help="Small letters, digits, - and _.", max_chars=32)
        role = what.selectbox("Role", ["feature", "label"], format_func=lambda kind: f"{kind} party")
        valid = long.selectbox("Good for", list(LIFETIMES), index=1)
        wanted = st.form_submit_button("Make the invitation", type="primary", icon=":material/key:")
    if not wanted:
        return
    try:
        asked = InvitationQuestion(
            name=name.strip(), role="label" if role == "label" else "feature", minutes=LIFETIMES[valid]
        )
    except ValueError:
        st.error("No such name: small letters, digits, - and _, a letter first.", icon=":material/error:")
        return
    invitation = ask("the invitation", lambda: client.invite(asked))
    if invitation is not None:
        _token(invitation)


def _token(made: InviteView) -> None:
    """The token, once: it is in this answer and nowhere else, not in the session either."""
    st.warning(
        f"Shown this once, for {plain(made.name)}, until {instant(made.expires)}. Hand it over on a private channel.",
        icon=":material/key:", title="Keep it secret",
    )  # fmt: skip
    st.code(made.token, language=None, wrap_lines=True)
    picture, words = st.columns([1, 1])
    picture.image(code_picture(made.code), width=260, alt="The token as a QR code")
    words.markdown("The party joins with", help=HELP["invitation"])
    words.code("entente party join TOKEN.txt --home DIR --listen HOST:PORT", language=None, wrap_lines=True)
    words.download_button(
        "Download the token", made.token + "\n", file_name=f"invitation-{made.name}.txt", mime="text/plain",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _open_invitations(client: ClientProtocol) -> None:
    st.markdown("**Open invitations**")
    found = ask("invitations", client.invitations)
    if found is None:
        return
    if not found:
        st.caption("None.")
    for invitation in found:
        _invitation(client, invitation)


def _invitation(client: ClientProtocol, invitation: InvitationView) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", border=True):
        st.markdown(
            f"**{plain(invitation.name)}** as {invitation.role} party, until {instant(invitation.expires)}",
            width="content",
        )
        if st.button("Withdraw", key=f"withdraw {invitation.name}", icon=":material/undo:"):
            asked = MemberQuestion(name=invitation.name)
            if ask("the withdrawal", lambda: client.withdraw_invitation(asked)) is not None:
                st.rerun()
