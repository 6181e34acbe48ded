"""The files and the folder that a party's settings name, looked for before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from parties.settings.consortium import PartySettings
from parties.settings.labels import LabelSettings

__all__ = ["absent"]


def absent(party: PartySettings, label: LabelSettings | None, queries: Path, data: Path) -> tuple[str, ...]:
    """One phrase for each that is not there, with the setting that names it.

    ``queries`` is the folder that the settings' file names are relative to, ``label`` the label party's own table.
    """
    told = [
        f"{queries / name}: no such file; mend {setting}, which names it"
        for setting, name in _named(party, label)
        if name and not (queries / name).exists()
    ]
    if not data.is_dir():
        told.append(f"{data}: no such data folder; name an existing folder")
    return tuple(told)


def _named(party: PartySettings, label: LabelSettings | None) -> Iterator[tuple[str, str]]:
    yield "query", party.query
    yield "aliases", party.aliases
    yield "alias_query", party.alias_query
    yield "label_query", party.label_query
    if party.text is not None:
        yield "text.query", party.text.query
        yield "text.path", party.text.path
    if label is not None:
        yield "label.query", label.query
