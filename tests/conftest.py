"""What holds for all tests: the same examples, untimed; long files first; no page leaves its script behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# as ui/.streamlit/config.toml says, which a page under test does not read
os.environ.setdefault("STREAMLIT_GLOBAL_DISABLE_WIDGET_STATE_DUPLICATION_WARNING", "true")
# a busy machine says nothing about the code, and a test says the same on every machine; new examples: make fuzz
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("fresh", deadline=None, print_blob=True)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def same_program() -> Iterator[None]:
    """Streamlit makes a page's script ``__main__``, which any process that is spawned afterwards would run."""
    program = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = program


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first: at the end, when one worker has no more files, none is long."""
    long = {item.path for item in items if item.get_closest_marker("system")}
    items.sort(key=lambda item: item.path not in long)
