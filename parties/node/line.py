"""What a node needs of its line to the coordinator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from parties.agreement.overlap import OverlapAnswer
from parties.control.commands import Command
from parties.control.phases import PhaseName
from parties.control.reports import LinksBody, ProgressBody
from parties.settlement.committed_rows import RowsCommitted
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer

__all__ = ["Line"]


class Line(Protocol):
    """The standing line to the coordinator, as a node uses it."""

    def commands(self) -> Iterator[Command]:
        """Commands as they come; ends when the line is closed."""

    def signed(self, run_id: str, signature: str) -> None: ...

    def links(self, run_id: str, said: LinksBody) -> None: ...

    def rejected(self, run_id: str, why: str) -> None: ...

    def done(self, run_id: str, phase: PhaseName, attempt: int, report: Mapping[str, Any]) -> None: ...

    def failed(
        self, run_id: str, phase: PhaseName, attempt: int, reason: str, peer: str = "", *, lost: bool = False
    ) -> None: ...

    def held(self, run_id: str, phase: PhaseName, attempt: int) -> None: ...

    def progress(self, run_id: str, body: ProgressBody) -> None: ...

    def settlement(self, run_id: str, answer: Answer) -> None: ...

    def live(self, run_id: str, record: LiveRecord) -> None: ...

    def rows(self, committed: RowsCommitted) -> None: ...

    def overlap(self, answer: OverlapAnswer) -> None: ...

    def data_checked(self, *, usable: bool) -> None: ...
