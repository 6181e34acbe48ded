"""What holds for all tests: property tests are not timed, and no page leaves its script behind as the program."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("untimed", settings(), deadline=None)  # a busy machine says nothing about the code
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def same_program() -> Iterator[None]:
    """Streamlit makes a page's script ``__main__``, which any process that is spawned afterwards would run."""
    program = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = program
