"""The sample's pages as a site, as :mod:`ui.website` has them but for the sign-in: for :mod:`tests.ui.test_browser`.

Streamlit imports it by its bare name, as it does :mod:`ui.website`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from starlette.middleware import Middleware
from streamlit.starlette import App

from ui.astray import Astray
from ui.page_shell import PageShell
from ui.website import KEYS

app = App(Path(__file__).with_name("sample_app.py"), middleware=[Middleware(Astray, keys=KEYS), Middleware(PageShell)])
