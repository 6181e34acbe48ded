"""Credentials for the web page's process: a member of the roster that can call the coordinator and sign nothing."""

from __future__ import annotations

from pathlib import Path

from parties.coordinator.settings import load_coordinator_settings
from parties.errors import StorageError
from parties.joining.invitations import member_lock
from parties.members.keys import create_tls_keys
from parties.members.roster import Roster
from parties.names import COORDINATOR, DESK
from parties.private_files import whole_or_nothing

__all__ = ["enrol_desk"]


def enrol_desk(home: Path, folder: Path | None = None) -> Path:
    """Make (or make anew) the desk's credentials in ``folder``, by default in the coordinator's ``home``.

    Its key is not encrypted: the page would otherwise need the passphrase that opens the coordinator's own keys, and
    without somebody's session it opens nothing. Sessions begun over earlier credentials end. ``consortium.txt`` has the
    name that the sign-in page shows to whoever comes.
    """
    made = folder or home / DESK
    try:
        with member_lock(home), whole_or_nothing(made):
            roster = Roster.load(home / "roster.json")
            # nobody ever calls the desk, so its port is none
            member = create_tls_keys(DESK, made / "keys", "127.0.0.1:0")
            Roster({COORDINATOR: roster.member(COORDINATOR)}).save(made / "roster.json")
            (made / "consortium.txt").write_text(load_coordinator_settings(home).name, encoding="utf-8")
            Roster({**roster, DESK: member}).save(home / "roster.json")
    except OSError as error:
        raise StorageError(f"{made}: cannot be written ({error.strerror}); choose another folder") from None
    return made
