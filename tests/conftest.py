"""What holds for all tests: property tests are not timed, and no page leaves its script behind as the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# as ui/.streamlit/config.toml says, which a page under test does not read
os.environ.setdefault("STREAMLIT_GLOBAL_DISABLE_WIDGET_STATE_DUPLICATION_WARNING", "true")
settings.register_profile("untimed", settings(), deadline=None)  # a busy machine says nothing about the code
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def same_program() -> Iterator[None]:
    """Streamlit makes a page's script ``__main__``, which any process that is spawned afterwards would run."""
    program = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = program
