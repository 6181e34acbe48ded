"""``python -m parties.cli`` is ``entente``."""

from __future__ import annotations

from parties.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
