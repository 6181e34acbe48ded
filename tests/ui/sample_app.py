"""The real pages over the sample client: ``ENTENTE_CREDENTIALS=. streamlit run tests/ui/sample_app.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.ui.sample import SampleClient
from ui import app

app.Client = SampleClient
app.main()
