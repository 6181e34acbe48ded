"""A new party's first ``node.toml``: from a consortium file, from its own SQL, or a commented template per role."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from parties.errors import ConfigError

if TYPE_CHECKING:
    from parties.settings.consortium import ConsortiumSettings

__all__ = ["FirstSettings", "OwnFiles", "from_consortium", "from_own_files"]

_RESERVED = ("entity", "period", "available_at", "label", "label_available_at", "in_universe")


@dataclass(frozen=True)
class OwnFiles:
    """What a party says of its own data when it joins; all of it can be left out.

    query, label_query: SQL files. columns: of the query; empty: every number that it yields.
    """

    data: Path | None = None
    query: Path | None = None
    columns: tuple[str, ...] = ()
    label_query: Path | None = None
    label_name: str = ""
    definition: str = ""
    lag_days: int | None = None


@dataclass(frozen=True)
class FirstSettings:
    """text: of node.toml. entity: the legal entity in it. beside: further files to write, by path from the home."""

    text: str
    entity: str
    beside: dict[str, str] = field(default_factory=dict)


def from_consortium(
    name: str, role: str, listen: str, settings: ConsortiumSettings, config: Path, data: Path | None, entity: str
) -> FirstSettings:
    """The party's own tables of ``config``."""
    from parties.settings.toml_text import to_toml

    mine = next((party for party in settings.party if party.name == name), None)
    if mine is None or mine.role != role:
        raise ConfigError(f"{config}: has no [[party]] called {name!r} with role {role!r}; leave --config out")
    record = {
        "listen": listen,
        "data": str((data or Path("data")).resolve()),
        "queries": str(config.resolve().parent),
        "approve": "ask",
        "party": mine.model_dump(mode="json", exclude_unset=True) | ({"legal_entity": entity} if entity else {}),
    }
    if role == "label":
        record["label"] = settings.label.model_dump(mode="json", exclude_unset=True)
    return FirstSettings(to_toml(record), entity or mine.legal_entity)


def from_own_files(name: str, role: str, listen: str, own: OwnFiles, entity: str) -> FirstSettings:
    """A commented node.toml with what is known of the party's files, and with examples for the rest.

    Raises :class:`ConfigError` or :class:`parties.errors.DataError` for files that cannot be used as they are.
    """
    if role != "label" and (own.label_query or own.label_name):
        raise ConfigError(f"{name} is a feature party: only the label party has --label-query and --label-name")
    folder = _one_folder(own)
    query = own.query.name if own.query else "features.sql"
    label_query = own.label_query.name if own.label_query else "label.sql"
    columns = _columns(own)
    beside = {} if own.query or (role == "label" and own.label_query) else {f"sql/{query}": _FEATURES}
    if role == "label" and own.label_query is None:
        beside["sql/label.sql"] = _LABEL
    alone = role == "label" and own.query is None and own.label_query is not None
    text = _TEMPLATE.format(
        listen=json.dumps(listen),
        data=json.dumps(str(own.data.resolve()) if own.data else "data", ensure_ascii=False),
        queries=json.dumps(str(folder) if folder else "sql", ensure_ascii=False),
        name=json.dumps(name),
        role=json.dumps(role),
        entity=json.dumps(entity, ensure_ascii=False),
        features=_ALONE if alone else _WITH_FEATURES.format(
            query=json.dumps(query, ensure_ascii=False),
            columns=json.dumps(list(columns), ensure_ascii=False),
            lag=_lag(None if role == "label" and own.query is None else own.lag_days),
        ),
        label="" if role != "label" else _LABEL_TABLE.format(
            name=json.dumps(own.label_name or "next_return", ensure_ascii=False),
            definition=json.dumps(own.definition or "say what is predicted, and over which days", ensure_ascii=False),
            query=json.dumps(label_query, ensure_ascii=False),
            lag=_lag(own.lag_days),
        ),
    )  # fmt: skip
    if own.data is not None and (own.query or own.label_query):
        _try(text, own)
    return FirstSettings(text, entity, beside)


def _try(text: str, own: OwnFiles) -> None:
    """Read what the queries yield as a run would, so that a fault in days, names or labels is told before joining."""
    import tomllib

    from parties.data.entities import has_periods
    from parties.data.query import read_label_rows, read_observations
    from parties.node.settings import NodeSettings

    settings = NodeSettings.model_validate(tomllib.loads(text))
    party, label = settings.party, settings.label if own.label_query else None
    queries, data = Path(settings.queries), Path(settings.data)
    if not has_periods(party, queries, data, label):
        return  # static data: one row an entity, and nothing is asked of dates
    if own.query:
        read_observations(party, queries, data)
    if label is not None:
        read_label_rows(party, label, queries, data)


def _lag(days: int | None) -> str:
    return f"lag_days = {days}" if days is not None else "# lag_days = 3"


def _one_folder(own: OwnFiles) -> Path | None:
    """Where the SQL files lie."""
    given = [path.resolve() for path in (own.query, own.label_query) if path is not None]
    for path in given:
        if not path.is_file():
            raise ConfigError(f"{path}: no such SQL file; name the file that yields entity, period and the columns")
    if len({path.parent for path in given}) > 1:
        raise ConfigError("--query and --label-query lie in two folders: put them into one, which node.toml then names")
    return given[0].parent if given else None


def _columns(own: OwnFiles) -> tuple[str, ...]:
    """Those named, or every number that the query yields."""
    if own.columns or own.query is None:
        return own.columns or ("visits",)
    if own.data is None:
        raise ConfigError("--query needs --data, the folder that ${data} stands for in SQL, or --columns")
    from parties.data.query import run_query
    from parties.data.result_columns import ResultColumns, is_number, numbers_in_text

    found, source = list[str](), own.query.name

    def look(result: ResultColumns) -> list[str]:
        numbers_in_text(source, result, [name for name in result.types if name not in _RESERVED])
        found.extend(name for name, kind in result.types.items() if name not in _RESERVED and is_number(kind))
        return ["1 AS one"]

    run_query(own.query, own.data, look)
    if not found:
        raise ConfigError(
            f"{own.query}: yields no number beside entity, period and available_at; cast text, or name --columns"
        )
    return tuple(found)


_TEMPLATE = """\
# This node's settings; docs/configuration.md has every key. After a change: entente data check, then start again.

# Where the other nodes reach this one.
listen = {listen}
# The folder that ${{data}} stands for in SQL; nothing outside it is read.
data = {data}
# The folder of the SQL files and alias tables.
queries = {queries}
# Nothing is signed without you: entente run review, then entente run approve.
approve = "ask"

# What this party brings. docs/data.md says what a query must yield.
[party]
name = {name}
role = {role}
# To whom it belongs: parties of one legal entity share one reward.
legal_entity = {entity}
{features}
# Your own spellings of the common names, a CSV with columns alias and entity; it never leaves this node.
# aliases = "aliases.csv"
{label}
# What no agreement may exceed; docs/configuration.md lists all limits.
[limits]
openings_per_row = 8
"""

_WITH_FEATURES = """\
# Yields entity, period (the last day an observation covers), available_at (when it was known), and the columns.
query = {query}
# The numbers that a model may use.
columns = {columns}
# Instead of available_at: days from a period to when it is known.
{lag}
# Older observations count as absent.
# largest_age_days = 45"""

_ALONE = """\
# This label party brings labels alone. With columns of its own too:
# query = "features.sql"
# columns = ["visits"]"""

_LABEL_TABLE = """
# What is predicted. The query yields entity, period, label and label_available_at (when it was known), and, where some
# rows do not count, in_universe (true or false).
[label]
name = {name}
definition = {definition}
query = {query}
# Instead of label_available_at: days from a period to when its label is known.
{lag}
"""

_FEATURES = """\
-- One row for each entity and day. Put your own files and columns here; ${data} is the data folder of node.toml.
-- Try it: entente data check
SELECT company AS entity, week AS period, known_on AS available_at, visits
FROM read_csv('${data}/features.csv')
"""

_LABEL = """\
-- One row for each entity and decision day, with what followed it and the day on which that was known.
SELECT company AS entity, week AS period, next_return AS label, known_on AS label_available_at
FROM read_csv('${data}/labels.csv')
"""
