"""Members on the page: words and tables, warnings in good time, and a QR code as a picture. Nothing here draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from parties.client import MemberView
from ui.wording import MISSING, Colour, things, when

__all__ = [
    "HEALTH_LOOKS",
    "LIFETIMES",
    "certificate_words",
    "checked_words",
    "code_picture",
    "columns_table",
    "data_look",
    "seen_words",
    "warnings",
]

HEALTH_LOOKS: Mapping[str, tuple[str, Colour, str]] = {
    "online": ("online", "green", ":material/check_circle:"),
    "silent": ("silent", "orange", ":material/volume_off:"),
    "offline": ("offline", "gray", ":material/cloud_off:"),
}
LIFETIMES: Mapping[str, int] = {"10 minutes": 10, "1 hour": 60, "8 hours": 480, "1 day": 1440, "1 week": 10080}
_QUIET = 4  # modules of white around a QR code, as its standard asks


def data_look(member: MemberView) -> tuple[str, Colour, str]:
    """Whether a run could use its data, as its node last found: words, colour and icon."""
    if member.data_checked is None:
        return "data not checked", "gray", ":material/help:"
    if member.data_usable:
        return "data ready", "green", ":material/database:"
    return "data cannot be used", "red", ":material/database_off:"


def seen_words(member: MemberView) -> str:
    """When the coordinator last heard of it."""
    return "never seen" if member.last_seen is None else f"seen {when(member.last_seen)}"


def checked_words(member: MemberView) -> str:
    """When its node last tried its queries, and what to do where they failed, a command between backticks."""
    if member.data_checked is None:
        return "its node has not said" if member.health != "offline" else "its node has not started"
    told = f"checked {when(member.data_checked)}"
    return told if member.data_usable else f"{told}; its operator reads why with `entente doctor`"


def certificate_words(member: MemberView) -> str:
    """How long its certificate is good."""
    if member.days_left < 0:
        return f"{things(-member.days_left, 'days')} ago"
    return f"{things(member.days_left, 'days')} left"


def columns_table(member: MemberView) -> pd.DataFrame:
    """What the party publishes of its columns: names and units, never a value."""
    rows = [(name, member.units.get(name, MISSING)) for name in member.columns]
    return pd.DataFrame(rows, columns=["Column", "Unit"])


def warnings(members: Iterable[MemberView], *, admin: bool = True) -> list[str]:
    """One sentence for each certificate that has ended or soon ends, and for an address that two members name.

    An ``admin`` reads what to do, everybody else who does it.
    Commands stand between backticks, for :func:`ui.wording.with_commands`.
    """
    told, at = [], dict[str, str]()
    for member in members:
        if member.address in at:
            told.append(
                f"{member.name} names the address of {at[member.address]}, {member.address}: one of them cannot be "
                f"reached there. {'Put' if admin else 'An admin puts'} it out, and "
                f"{'invite' if admin else 'invites'} it again with an address of its own."
            )
        at.setdefault(member.address, member.name)
        if member.certificate == "over":
            told.append(
                f"The certificate of {member.name} has ended, and nobody accepts it any more. "
                f"{_put_out_and_invite(member) if admin else 'An admin puts it out and invites it again.'} Its "
                f"operator joins from a new folder: `entente party join TOKEN --home {member.name}-new --listen "
                f"{member.address}`."
            )
        elif member.certificate == "soon":
            told.append(
                f"The certificate of {member.name} ends in {things(member.days_left, 'days')}. Its operator renews it "
                f"with `entente party rotate --home {member.name}`, and starts the node again."
            )
    return told


def _put_out_and_invite(member: MemberView) -> str:
    return (
        "Put it out and invite it again, on this page or where the coordinator runs: `entente coordinator revoke "
        f"{member.name} --home COORDINATOR`, then `entente invite {member.name} --role {member.role} --home "
        "COORDINATOR`."
    )


def code_picture(rows: Sequence[str], *, module: int = 6) -> str:
    """The QR code as an SVG document, dark on white in either theme."""
    size = (len(rows) + 2 * _QUIET) * module
    squares = "".join(
        f"M{(x + _QUIET) * module} {(y + _QUIET) * module}h{module}v{module}h-{module}z"
        for y, row in enumerate(rows)
        for x, dark in enumerate(row)
        if dark == "1"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 {size} {size}" '
        f'shape-rendering="crispEdges"><rect width="{size}" height="{size}" fill="#fff"/>'
        f'<path d="{squares}" fill="#000"/></svg>'
    )
