"""Which trials go on at a rung: multi-objective successive halving, without Ray and without a ledger.

After an eighth, a quarter and half of its epochs a trial is compared with all that came to that rung before it. It goes
on if no earlier one dominates it, or if it is within the top 1/eta (rounded up) by non-dominated rank. If a rank fits
only in part, an epsilon-net decides within it, so that the trials that go on stay spread along the front. (Schmucker
et al., "Multi-objective Asynchronous Successive Halving", arXiv 2106.12639; Salinas et al., arXiv 2106.05680.)

Three things differ from the papers. First, every trial of rank 0 goes on. This keeps both ends of a front and, with the
first rung at an eighth and eta = 2, most trials whose weight is still rising. Second, the net counts in additive
epsilons between positions in the rung's order: how far a candidate is from those chosen before it (what they lack to
dominate it), less how far it is behind the front (what it lacks not to be dominated). So a better trial never fares
worse, and neither an objective's unit nor the order of the objectives matters. Third, no trial stops at a rung to which
only models have come that do not beat the mean image: the choice among them would be noise.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np

from study.config import UserError
from study.ranges import RANGES
from study.results.pareto import dominates

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""The rungs, as shares of a trial's epochs."""
DEFAULT_ETA = 2.0
_FEWEST, _LEAST_SHARE = 3, 0.02
_TAKEN = 2**40
_MANY, _EULER = 10_000, 0.5772156649


def rung_epochs(epochs: int, shares: Sequence[float] = SHARES) -> tuple[int, ...]:
    """The epochs at which a trial of that length is compared with others; its last epoch is never one."""
    return tuple(sorted({math.ceil(share * epochs) for share in shares} - {epochs}))


def expected_completions(trials: int, rungs: int, objectives: int, eta: float) -> float:
    """About how many of these trials would be trained to the end.

    The n-th trial passes if it is among the best 1/eta at every rung, or if it is undominated. Of n points with
    independent objectives about ln(n)^(k-1) / (k-1)! are undominated; for k = 2 exactly the harmonic number. This
    assumes that ranks stay the same from rung to rung.
    """
    total = harmonic = 0.0
    for n in range(1, trials + 1):
        harmonic += 1 / n
        undominated = harmonic ** (objectives - 1) / math.factorial(objectives - 1) / n
        total += min(1.0, max(eta**-rungs, undominated))
        if undominated <= eta**-rungs and n > math.exp(objectives):  # it only falls from here on
            return total + (trials - n) * eta**-rungs
    return total


def expected_share(n: int, epochs: int, objectives: int, eta: float | None) -> tuple[float, float]:
    """What the n-th trial of a search is about trained, under the assumptions of `expected_completions`.

    Args:
        n: From 1; trials that are never stopped count too.
        epochs: Its plan.
        objectives: The number of objectives, k.
        eta: One trial in eta goes on at each rung; None if none stops.

    Returns:
        The expected share of its epochs, and the probability that it is trained to the end.
    """
    if eta is None:
        return 1.0, 1.0
    harmonic = sum(1 / i for i in range(1, n + 1)) if n < _MANY else math.log(n) + _EULER
    undominated = min(1.0, harmonic ** (objectives - 1) / math.factorial(objectives - 1) / n)
    begin, trained, reached = 0, 0.0, 1.0
    for passed, end in enumerate((*rung_epochs(epochs), epochs)):
        reached = max(eta**-passed, undominated)
        trained += reached * (end - begin)
        begin = end
    return trained / epochs, reached


def suitable_eta(
    trials: int, epochs: int, objectives: int, eta: float | None = None, *, is_chosen: bool = False
) -> float | None:
    """The eta of a study: the one that was asked for, else the default one, else none where trials are too few.

    Args:
        trials: Trials of the study.
        epochs: Epochs of a trial.
        objectives: The number of objectives.
        eta: What was asked for; None for the default.
        is_chosen: Whether early stopping was asked for, so that it must not be left out.

    Raises:
        UserError: What was asked for makes no sense or leaves hardly a trial to be trained to the end; the message
            gives the expected number of them.
    """
    if eta is not None and not RANGES["eta"].holds(eta):
        raise UserError(
            f"--eta {eta:g}: one trial in eta goes on at a rung, so it must be {RANGES['eta']}; 2 is the default"
        )
    used = DEFAULT_ETA if eta is None else eta
    expected = expected_completions(trials, len(rung_epochs(epochs)), objectives, used)
    if expected >= min(_FEWEST, trials / 2) and expected >= _LEAST_SHARE * trials:
        return used
    if eta is None and not is_chosen:
        return None
    option = "--scheduler asha" if eta is None else f"--eta {eta:g}"
    raise UserError(
        f"{option}: about {expected:.1f} of {trials} trials would be trained to the end; choose a smaller --eta"
        f"{' than 2' if eta is None else ''}, or --scheduler none"
    )


class Rung:
    """The results at one rung, in the order in which they came, and their non-dominated fronts.

    Args:
        objectives: The number of objectives, k; all are minimised.
    """

    def __init__(self, objectives: int) -> None:
        self._values = np.empty((16, objectives))
        self._count = 0
        self._fronts: list[list[int]] = []
        self._sorted: list[list[float]] = [[] for _ in range(objectives)]

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> np.ndarray:
        """The results so far, [n, k]."""
        return self._values[: self._count]

    def goes_on(self, values: np.ndarray, eta: float) -> bool:
        """Whether a trial with these values (finite, [k]) would go on; does not change the rung."""
        rank = self._rank(values)
        if rank == 0:
            return True
        free = math.ceil((self._count + 1) / eta) - sum(map(len, self._fronts[:rank]))
        rivals = self._fronts[rank] if rank < len(self._fronts) else []
        if free <= 0 or free > len(rivals):
            return free > 0
        return self._in_net(values, sorted(rivals), free)

    def add(self, values: np.ndarray) -> None:
        """Takes in a result (finite, [k])."""
        rank = self._rank(values)
        if self._count == len(self._values):
            self._values = np.concatenate([self._values, np.empty_like(self._values)])
        self._values[self._count] = values
        for column, value in zip(self._sorted, values.tolist(), strict=True):
            bisect.insort(column, value)
        moving = [self._count]
        self._count += 1
        # What the newcomer dominates in its own front moves one front down, and so on from there.
        while moving:
            if rank == len(self._fronts):
                self._fronts.append([])
            front = self._fronts[rank]
            beaten = np.atleast_1d(dominates(self._values[moving][:, None], self._values[front][None]).any(axis=0))
            self._fronts[rank] = [index for index, out in zip(front, beaten, strict=True) if not out] + moving
            moving = [index for index, out in zip(front, beaten, strict=True) if out]
            rank += 1

    def _rank(self, values: np.ndarray) -> int:
        """The first front that does not dominate the values. Bisection works: every better front dominates them too if
        one does."""

        def free(front: list[int]) -> bool:
            return not dominates(self._values[front], values).any()

        return bisect.bisect_left(self._fronts, True, key=free)

    def _in_net(self, values: np.ndarray, rivals: list[int], size: int) -> bool:
        """Whether the values are among the first `size` of a greedy epsilon-net over them and their rivals."""
        positions = self._positions(np.vstack([self._values[rivals], values]))
        front = self._positions(self._values[self._fronts[0]])
        behind = -(front[:, None] - positions).max(axis=-1).min(axis=0)
        spread, chosen = None, int(behind.argmin())
        for _ in range(size):
            if chosen == len(rivals):
                return True
            away = (positions[chosen] - positions).max(axis=-1)
            spread = away if spread is None else np.minimum(spread, away)
            behind[chosen] = _TAKEN
            chosen = int((spread - behind).argmax())
        return False

    def _positions(self, values: np.ndarray) -> np.ndarray:
        """Twice the mean rank of [m, k] among all results of the rung: whole numbers, so that ties are exact."""
        columns = [
            np.searchsorted(column, values[:, k], "left") + np.searchsorted(column, values[:, k], "right")
            for k, column in enumerate(self._sorted)
        ]
        return np.stack(columns, axis=1)


class Rungs:
    """All rungs of a study.

    Args:
        directions: `minimize` or `maximize`, by objective.
        eta: One trial in eta goes on at each rung.
    """

    def __init__(self, directions: Sequence[str], eta: float = DEFAULT_ETA) -> None:
        self.eta = eta
        self._signs = np.array([-1.0 if direction == "maximize" else 1.0 for direction in directions])
        self._rungs: dict[int, Rung] = {}
        self._seeing: set[int] = set()

    def decide(self, epoch: int, values: Sequence[float], *, is_blind: bool = False) -> bool:
        """Takes in a trial's objectives at a rung, unless one is not finite. Returns whether the trial goes on.

        Args:
            epoch: The rung.
            values: The objectives.
            is_blind: Whether the trial does not beat the mean image. While all at a rung are, each of them goes on.
        """
        signed = self._signs * np.asarray(values, dtype=np.float64)
        if not np.isfinite(signed).all():
            return False
        result = self._rung(epoch).goes_on(signed, self.eta)
        self.restore(epoch, values, is_blind=is_blind)
        return result or epoch not in self._seeing

    def restore(self, epoch: int, values: Sequence[float], *, is_blind: bool = False) -> None:
        """Takes in a result that needs no decision."""
        self._rung(epoch).add(self._signs * np.asarray(values, dtype=np.float64))
        if not is_blind:
            self._seeing.add(epoch)

    def size(self, epoch: int) -> int:
        """Results at a rung so far."""
        return len(self._rungs.get(epoch, ()))

    def snapshot(self) -> dict[int, list[list[float]]]:
        """Results by rung epoch, in the order in which they came."""
        return {epoch: (rung.values * self._signs).tolist() for epoch, rung in sorted(self._rungs.items())}

    def _rung(self, epoch: int) -> Rung:
        return self._rungs.setdefault(epoch, Rung(len(self._signs)))
