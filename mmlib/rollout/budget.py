"""The error budget of a whole rollout, and the boundaries that spend it.

*Promotion.* Stages run in order, each only after the one before passed (a fixed sequence of tests), so five percent at each
stage is five percent over the rollout: the first stage without a true gain that passes is the first error, and it has
probability five percent at most. Source: Maurer, Hothorn, Lehmacher (1995); Dmitrienko et al., Multiple Testing Problems in
Pharmaceutical Statistics (2009), section 2.6.

*Rollback.* Any stage may err, so a third of five percent is spent a stage. A mixture boundary spends nearly all of its error
after the planned end, where no stage is; HARM is the one whose chance of being crossed between its first hour and the planned
end is at most a third of five percent with the noise that ``ci/bench inference`` lists. It stays a confidence sequence at its
own level for whoever looks beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES_OF_A_ROLLOUT = 3
FAMILY_ALPHA = 0.05


@dataclass(frozen=True)
class Boundary:
    """Level, tuning and first look of a one-sided bound.

    ``alpha`` is the level at all times; the sequence is tightest at ``stretch`` times the planned hours, at ``least_n`` at the
    least; nothing is bounded before ``min_n`` hours. ``early`` is a second, much smaller level tuned to few hours: a large harm
    need not wait for the boundary that finds a small one.
    """

    alpha: float
    stretch: float
    least_n: int
    min_n: int
    early: tuple[float, int] | None = None

    def tuned(self, planned_n: int) -> int:
        """Hours at which the sequence is tightest."""
        return max(round(self.stretch * planned_n), self.least_n)


GAIN = Boundary(alpha=FAMILY_ALPHA, stretch=1.0, least_n=2, min_n=6)
HARM = Boundary(alpha=0.13, stretch=2.8, least_n=200, min_n=10, early=(0.0005, 24))
