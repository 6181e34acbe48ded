"""The audit log on disk: entries and heads in a database, append-only.

A node writes it, and an operator's command beside it: whoever appends first takes in what the other has written.

An entry is canonical JSON ``{"at", "body", "kind", "run"}``; its bytes are the leaf. Every head that this node signed
and every head of others that it saw is kept, so that neither can be denied later. SQLite (WAL, synchronous=FULL) or
PostgreSQL.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import rfc8785
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from parties.audit.heads import Head, Inclusion, check_head, continues, make_head
from parties.audit.merkle import Tree, leaf_hash
from parties.errors import PeerError, StorageError
from parties.process.database import copied, is_read_only, open_engine

__all__ = ["AuditLog", "Entry", "Findings"]

_TABLES = sa.MetaData()
_ENTRIES = sa.Table(
    "audit_entries",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.String(64), nullable=False, index=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("entry", sa.Text, nullable=False),
    sa.Column("leaf", sa.String(64), nullable=False),
)
_HEADS = sa.Table(
    "audit_heads",
    _TABLES,
    sa.Column("log", sa.String(32), primary_key=True),
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it was logged. ``text`` is what the leaf is the hash of."""

    index: int
    at: str
    kind: str
    run_id: str
    body: Mapping[str, Any]
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What :meth:`AuditLog.verify` found. ``unlinked``: heads of others whose proof starts at one we never saw.

    ``keyless``: logs of others whose key is not known, as that of a member which was put out: only that their heads fit
    together was checked.
    """

    size: int
    root: str
    own_heads: int
    others: Mapping[str, int]
    unlinked: int
    faults: tuple[str, ...]
    keyless: tuple[str, ...] = ()


class AuditLog:
    """One node's log. ``name`` is its owner's; ``sign`` its Ed25519 key's, or None where it is only read. Thread-safe.

    One that is only read may lie where nothing can be written, such as an auditor's copy.

    Raises :class:`StorageError` when the database cannot be opened, read or written.
    """

    def __init__(self, name: str, url: str, sign: Callable[[bytes], bytes] | None = None) -> None:
        self.name = name
        self._sign = sign
        self._lock = threading.RLock()
        with contextlib.ExitStack() as copies:
            if sign is None and is_read_only(url):
                url = copied(url, Path(copies.enter_context(tempfile.TemporaryDirectory(prefix="audit-log-"))))
            self._engine = open_engine(url)
            self._copies = copies.pop_all()
        self._tree = Tree()
        self._last: dict[str, Head] = {}
        try:
            self._open(name)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str) -> None:
        """Make the tables where there are none, and take in what is on disk."""
        try:
            _TABLES.create_all(self._engine)
            if self._engine.dialect.name == "sqlite":
                self._forbid_changes()
        except SQLAlchemyError as error:
            raise StorageError(f"the audit log cannot be opened ({_cause(error)}); check the disk") from None
        self._catch_up()
        for head in self.heads():
            self._last[head.log] = head
        own = self._own_faults(self.heads(name)) if self._sign is not None else []
        if own:
            raise StorageError(f"the audit log of {name!r} is not what it signed ({own[0]}); restore a backup")

    @classmethod
    def at(cls, name: str, url: str, file: Path, sign: Callable[[bytes], bytes] | None = None) -> AuditLog:
        """The log at ``url``, or in ``file`` when that is empty."""
        return cls(name, url or f"sqlite:///{file}", sign)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._tree)

    def close(self) -> None:
        """Give the database connections back."""
        self._engine.dispose()
        self._copies.close()

    # -- writing

    def append(self, kind: str, run_id: str, body: Mapping[str, Any]) -> int:
        """Log what happened; on return it survives a crash. The entry's index."""
        fields: dict[str, Any] = {"at": _now(), "kind": kind, "run": run_id, "body": dict(body)}
        text = rfc8785.dumps(fields).decode()
        leaf = leaf_hash(text.encode())
        row = {"run_id": run_id, "kind": kind, "entry": text, "leaf": leaf.hex()}
        with self._lock:
            while not self._write(_ENTRIES, row | {"number": len(self._tree)}):
                before = len(self._tree)
                self._catch_up()
                if len(self._tree) == before:
                    raise StorageError("the audit log takes no entry and shows none in its place; restore a backup")
            self._tree.append(leaf)
            return len(self._tree) - 1

    def _catch_up(self) -> None:
        """Take in the entries that are on disk and not yet here."""
        for number, text, leaf in self._rows(since=len(self._tree)):
            found = leaf_hash(text.encode())
            if number != len(self._tree) or found.hex() != leaf:
                raise StorageError(
                    f"audit log entry {number} was changed or one before it is missing; restore a backup"
                )
            self._tree.append(found)

    def head(self, since: int | None = None) -> Head:
        """The signed head of everything so far, proved to continue the first ``since`` entries.

        ``since`` is the size that the reader knows of; without it, that of the last head signed.
        """
        assert self._sign is not None, "a log opened for reading signs nothing"
        with self._lock:
            self._catch_up()
            last, size = self._last.get(self.name), len(self._tree)
            if since is None:
                since = 0 if last is None else last.since if last.size == size else last.size
            proof = self._tree.consistency(since, size)
            if last is not None and last.size == size:
                return last.model_copy(update={"since": since, "proof": tuple(part.hex() for part in proof)})
            head = make_head(self.name, size, self._tree.root, _now(), self._sign, since=since, proof=proof)
            self._keep(head)
            return head

    def saw(self, head: Head, key: bytes, *, linked: bool = False) -> None:
        """Take in someone's head, ours as others hold it included.

        ``linked``: the head must prove that it continues the latest one known. Raises :class:`PeerError` naming the
        log's owner when the head is not signed by ``key``, or is not of the log that earlier heads were of;
        :class:`StorageError` when others hold a head of ours that our log does not have.
        """
        with self._lock:
            if not check_head(head, key):
                raise PeerError(f"a head of {head.log!r}'s audit log is not signed by its key", head.log)
            if head.log == self.name:
                self._catch_up()
                if head.size > len(self._tree) or self._tree.root_at(head.size).hex() != head.root:
                    raise StorageError(
                        f"this node signed a head of its audit log at {head.size} entries that the log no longer has: "
                        "entries were removed or changed; restore the node's state from a backup"
                    )
                return
            known = self.heads(head.log)
            if any((old.size, old.root) == (head.size, head.root) for old in known):
                return
            self._keep(head)  # the evidence is worth more than the order
            for old in known:
                first, second = (old, head) if old.size <= head.size else (head, old)
                if continues(first, second) is False:
                    raise PeerError(
                        f"{head.log!r} signed two heads of its audit log that do not fit together (at {first.size} and "
                        f"{second.size} entries): its log was cut or forked; both are kept as evidence",
                        head.log,
                    )
            if linked and known and continues(known[-1], head) is None:
                raise PeerError(
                    f"{head.log!r} does not prove that its audit log of {head.size} entries continues the one of "
                    f"{known[-1].size} that it signed before: its log was cut or forked",
                    head.log,
                )

    # -- reading

    def entries(self, run_id: str = "") -> list[Entry]:
        """Entries in order, those of one run when it is named."""
        return [_entry(number, text) for number, text, _ in self._rows(run_id)]

    def page(
        self,
        *,
        runs: Collection[str] | None = None,
        kind: str = "",
        words: Collection[str] = (),
        limit: int,
        offset: int = 0,
    ) -> tuple[int, list[Entry]]:
        """How many entries fit, and ``limit`` of them, newest first.

        ``runs``: of these alone; None takes all. ``words`` must all stand in the entry's text, whatever their case.
        """
        wanted = [_ENTRIES.c.entry.icontains(word, autoescape=True) for word in words]
        if kind:
            wanted.append(_ENTRIES.c.kind == kind)
        if runs is not None:
            wanted.append(_ENTRIES.c.run_id.in_(sorted(runs)))
        count = sa.select(sa.func.count()).select_from(_ENTRIES).where(*wanted)
        query = sa.select(_ENTRIES.c.number, _ENTRIES.c.entry).where(*wanted)
        query = query.order_by(_ENTRIES.c.number.desc()).limit(limit).offset(offset)
        try:
            with self._engine.connect() as connection:
                total = connection.execute(count).scalar_one()
                return total, [_entry(row.number, row.entry) for row in connection.execute(query)]
        except SQLAlchemyError as error:
            raise StorageError(f"the audit log cannot be read ({_cause(error)}); restore a backup") from None

    def entry(self, index: int) -> Entry:
        """One entry. Raises :class:`StorageError` where there is none."""
        for number, text, _ in self._rows(number=index):
            return _entry(number, text)
        raise StorageError(f"the audit log has {len(self._tree)} entries, numbered from 0: there is no {index}")

    def kinds(self) -> tuple[str, ...]:
        """The kinds of entries there are."""
        try:
            with self._engine.connect() as connection:
                return tuple(sorted(connection.execute(sa.select(_ENTRIES.c.kind).distinct()).scalars()))
        except SQLAlchemyError as error:
            raise StorageError(f"the audit log cannot be read ({_cause(error)}); restore a backup") from None

    def heads(self, log: str = "") -> list[Head]:
        """Heads that were signed or seen, of one log when it is named, by size."""
        query = sa.select(_HEADS.c.body).order_by(_HEADS.c.log, _HEADS.c.size)
        if log:
            query = query.where(_HEADS.c.log == log)
        try:
            with self._engine.connect() as connection:
                return [Head.model_validate_json(body) for body in connection.execute(query).scalars()]
        except (SQLAlchemyError, ValueError) as error:
            raise StorageError(f"the audit log cannot be read ({_cause(error)}); restore a backup") from None

    def prove(self, index: int, head: Head | None = None) -> Inclusion:
        """That entry ``index`` is in the log, against ``head`` or the latest signed head that covers it."""
        with self._lock:
            if head is None:
                head = next((h for h in reversed(self.heads(self.name)) if h.size > index), None)
            if head is None:
                raise StorageError(f"no signed head covers entry {index} of {len(self._tree)}: name an earlier entry")
            path = tuple(part.hex() for part in self._tree.inclusion(index, head.size))
            [(_, text, _)] = self._rows(number=index)
            return Inclusion(entry=text, index=index, path=path, head=head)

    def verify(self, keys: Mapping[str, bytes], held: Iterable[Head] = ()) -> Findings:
        """Check every entry, every head of ours and every head seen; ``held``: heads that others hold, of any log."""
        faults: list[str] = []
        own, others, unlinked = 0, {}, 0
        by_log: dict[str, list[Head]] = {}
        for head in {(h.log, h.size, h.root): h for h in (*self.heads(), *held)}.values():
            by_log.setdefault(head.log, []).append(head)
        keyless = tuple(sorted(by_log.keys() - keys.keys() - {self.name}))
        for log, heads in sorted(by_log.items()):
            heads.sort(key=lambda head: head.size)
            faults.extend(
                f"{log}: the head at {head.size} entries is not signed by a key in the roster"
                for head in heads
                if log not in keyless and (log not in keys or not check_head(head, keys[log]))
            )
            if log == self.name:
                own = len(heads)
                faults.extend(self._own_faults(heads))
                continue
            others[log] = len(heads)
            for old, new in pairwise(heads):
                linked = continues(old, new)
                unlinked += linked is None
                if linked is False:
                    faults.append(f"{log}: heads at {old.size} and {new.size} entries do not fit: cut or forked")
        return Findings(len(self._tree), self._tree.root.hex(), own, others, unlinked, tuple(faults), keyless)

    def _own_faults(self, heads: list[Head]) -> list[str]:
        faults = []
        for head in heads:
            if head.size > len(self._tree):
                faults.append(
                    f"a head of {head.size} entries was signed, and the log has {len(self._tree)}: it was cut"
                )
            elif self._tree.root_at(head.size).hex() != head.root:
                faults.append(f"the first {head.size} entries are not those that were signed: they were changed")
        return faults

    # -- the database

    def _forbid_changes(self) -> None:
        with self._engine.begin() as connection:
            for table in ("audit_entries", "audit_heads"):
                for change in ("UPDATE", "DELETE"):
                    connection.exec_driver_sql(
                        f"CREATE TRIGGER IF NOT EXISTS {table}_no_{change.lower()} BEFORE {change} ON {table} "
                        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
                    )

    def _rows(self, run_id: str = "", since: int = 0, *, number: int | None = None) -> list[tuple[int, str, str]]:
        query = sa.select(_ENTRIES.c.number, _ENTRIES.c.entry, _ENTRIES.c.leaf).order_by(_ENTRIES.c.number)
        if since:
            query = query.where(_ENTRIES.c.number >= since)
        if run_id:
            query = query.where(_ENTRIES.c.run_id == run_id)
        if number is not None:
            query = query.where(_ENTRIES.c.number == number)
        try:
            with self._engine.connect() as connection:
                return [(row.number, row.entry, row.leaf) for row in connection.execute(query)]
        except SQLAlchemyError as error:
            raise StorageError(f"the audit log cannot be read ({_cause(error)}); restore a backup") from None

    def _keep(self, head: Head) -> None:
        row = {"log": head.log, "size": head.size, "root": head.root, "body": head.model_dump_json()}
        self._write(_HEADS, row)
        last = self._last.get(head.log)
        if last is None or head.size > last.size:
            self._last[head.log] = head

    def _write(self, table: sa.Table, row: Mapping[str, Any]) -> bool:
        """Whether it was written: False where a row of this key is there, written by another process."""
        try:
            with self._engine.begin() as connection:
                connection.execute(table.insert(), dict(row))
            return True
        except IntegrityError:
            return False
        except SQLAlchemyError as error:
            raise StorageError(f"the audit log cannot be written ({_cause(error)}); check the disk") from None


def _entry(number: int, text: str) -> Entry:
    raw = json.loads(text)
    return Entry(number, raw["at"], raw["kind"], raw["run"], raw["body"], text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
