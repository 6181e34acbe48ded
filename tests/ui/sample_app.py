"""The real pages over the sample client, with nobody to sign in: what :mod:`tests.ui.sample_site` serves."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import streamlit as st

from tests.ui.sample import SampleClient
from ui import app

app.connection = st.cache_resource(SampleClient)
app.present_secret = lambda: "sample"
app.main()
