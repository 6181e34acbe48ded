"""Who is at the desk."""

from __future__ import annotations

from typing import Protocol

from parties.calls.asking import Asking, Nothing, Role
from parties.coordinator.views import View

__all__ = ["PeopleCalls", "ViewerView"]


class ViewerView(View):
    """Whom the coordinator takes the caller for. ``party`` is whom an operator works for."""

    name: str
    role: Role
    party: str = ""


class PeopleCalls(Asking, Protocol):
    """Calls about the people at the desk."""

    def viewer(self) -> ViewerView:
        """Who is asking, as the coordinator sees it."""
        return self.ask("viewer", Nothing(), ViewerView)
