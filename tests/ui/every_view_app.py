"""The real pages over the sample in the state that the cookie ``sample`` names, for :mod:`tests.ui.every_view`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import streamlit as st

from tests.ui.sample_states import client_in
from ui import app

_client = st.cache_resource(client_in)
app.connection = lambda: _client(st.context.cookies.get("sample", ""))
app.present_secret = lambda: "sample"
app.main()
