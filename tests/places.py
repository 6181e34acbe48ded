"""Where the tests find things: the checkout, and the public data sets of a checkout that has them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ROOT", "SHARED_DATA"]

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("ENTENTE_SHARED_DATA") or ROOT.parent / "shared" / "data")
