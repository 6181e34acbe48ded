"""Log of a walk forward: what was opened, scored and lost so far, begun anew or taken up from a party's record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Progress
from vfl.factors.panel import LabelPanel
from vfl.protocols.resume import Resumed, WalkJournal
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["WalkLog"]

F64 = NDArray[np.float64]


class WalkLog:
    """Kept by the label party beside whatever model it walks with.

    width: columns of what a step opens. journal: what a crash must not lose. resumed: its record of the step to go on
    from; what came before is replayed into the log, and ``left`` are the steps after.
    """

    def __init__(
        self,
        panel: LabelPanel,
        steps: Sequence[Step],
        width: int,
        journal: WalkJournal | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        self._shape = panel.label.shape
        self._width = width
        self._steps = tuple(steps)
        self._journal = journal
        rows = panel.label.size
        self._scores = np.full(rows, np.nan)
        self._embeddings = np.full((rows, width), np.nan)
        self._openings = np.zeros(rows, dtype=np.int64)
        self._heads: dict[int, bytes] = {}
        self.losses: list[float] = []
        self.ics: list[float] = []
        self._done, self._total = 0, sum(len(step.rows) for step in steps)
        self.left = self._steps
        if resumed is not None:
            self._replay(resumed)

    def _replay(self, resumed: Resumed) -> None:
        self.losses, self.ics = resumed.losses.tolist(), resumed.ics.tolist()
        self.left = self._steps[resumed.step :]
        for step in self._steps[: resumed.step]:
            self._openings[step.rows] += 1
            self._done += len(step.rows)
            if step.kind == "predict":
                outcome = resumed.outcomes[step.number]
                self._predicted(step, outcome.z, outcome.scores, outcome.scorer)

    def begin(self, step: Step, snapshot: Callable[[], bytes]) -> None:
        """``snapshot`` gives what the model above the opened sums takes up again, should the step be repeated."""
        self._openings[step.rows] += 1
        if self._journal is not None:
            self._journal.begin(step.number, snapshot(), self.losses, self.ics)

    def opened(self, step: Step, z: F64) -> None:
        """Keep the sums (B, width) of a training step, for trials that open nothing."""
        if self._journal is not None and step.kind == "train":
            self._journal.opened(step.number, z)

    def predicted(self, step: Step, z: F64, scores: F64, scorer: bytes) -> None:
        """A prediction: opened sums (B, width), scores (B,), and the head that made them of it."""
        self._predicted(step, z, scores, scorer)
        if self._journal is not None:
            self._journal.predicted(step.number, z, scores, scorer)

    def _predicted(self, step: Step, z: F64, scores: F64, scorer: bytes) -> None:
        self._scores[step.rows], self._embeddings[step.rows] = scores, z
        self._heads[step.period] = scorer

    def trained(self, loss: float, ic: float | None = None) -> None:
        """A training step's loss, and the IC of its batch where the model has one."""
        self.losses.append(loss)
        if ic is not None:
            self.ics.append(ic)

    def done(self, step: Step, metrics: Mapping[str, float]) -> Progress:
        """What to say of the walk after this step, in opened rows."""
        self._done += len(step.rows)
        return Progress(self._done, self._total, metrics={"period": float(step.period)} | dict(metrics))

    def result(self) -> TrainingResult:
        return TrainingResult(
            self._scores.reshape(self._shape),
            self._embeddings.reshape(*self._shape, self._width),
            np.array(self.losses),
            np.array(self.ics) if self.ics else np.full(len(self.losses), np.nan),
            self._openings.reshape(self._shape),
            self._heads,
            self._steps,
        )
