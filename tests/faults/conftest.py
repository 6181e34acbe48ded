"""What the tests of faults in real processes compare with: one run that nothing happens to, made once a worker."""

from __future__ import annotations

import pytest

from tests.faults.living import WHOLE_PERIODS, Whole, undisturbed


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return undisturbed(tmp_path_factory.mktemp("whole"), periods=WHOLE_PERIODS)
