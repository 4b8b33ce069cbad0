"""Calibration of the treatment: a walk-forward search over replays, every choice judged on hours that it has not seen.

A fold is a stretch to choose on and the stretch right after it to be judged on. Within a fold: a space-filling design, then
points near the best ones, twice; what is chosen is the largest lower edge of the effect (mean less one standard error) among
those that keep the safety gates on the stretch they were chosen on. The choice of the last fold is the result; the earlier
folds show how far the same procedure keeps what it promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, sha256_json
from mmlib.config.models import Config
from mmlib.engine.orphan import end_with_parent
from mmlib.metrics.farm import Farm, Here, open_farm, processes
from mmlib.rollout.experiment import MIN_COVERAGE
from mmlib.rollout.safety import BUCKET_S
from mmlib.rollout.searchspace import Point, Range, check_ranges, near_points, shipped_point, spread_points
from mmlib.rollout.trials import Batch, Market, Store, Trial, evaluate, trial_key

_HOUR_NS = BUCKET_S * 1_000_000_000
_LONGEST_SEGMENT_H = 6
_BATCH = 8
_TOP = 3
_WIDTHS = (0.3, 0.1)
MIN_BUCKETS = 6

Progress = Callable[[int, int], None]
"""Takes how many trials are there, and how many are known to be wanted so far."""


@dataclass(frozen=True)
class Fold:
    """Segments to choose on and segments to be judged on, by number from the start."""

    train: tuple[int, ...]
    unseen: tuple[int, ...]


def walk_forward(hours: int, train_h: int, unseen_h: int) -> tuple[int, tuple[Fold, ...]]:
    """Length of a segment [h] and the folds; each fold's unseen stretch begins where its train stretch ends.

    Raises:
        UserError: not whole hours of at least one, or together longer than there is.
    """
    for name, value in (("--hours", hours), ("--train-hours", train_h), ("--unseen-hours", unseen_h)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{name} {value!r}: expected a whole number of hours, at least 1")
    if train_h + unseen_h > hours:
        raise UserError(
            f"--hours {hours}: expected at least --train-hours plus --unseen-hours, {train_h} + {unseen_h}"
        )
    common = math.gcd(train_h, unseen_h)
    segment_h = max(d for d in range(1, min(common, _LONGEST_SEGMENT_H) + 1) if common % d == 0)
    train, unseen = train_h // segment_h, unseen_h // segment_h
    count = (hours - train_h) // unseen_h
    return segment_h, tuple(
        Fold(
            tuple(range(k * unseen, k * unseen + train)),
            tuple(range(k * unseen + train, (k + 1) * unseen + train)),
        )
        for k in range(count)
    )


@dataclass(frozen=True)
class Limits:
    """What a choice has to keep on its train stretch: the A/B safety gates, as point estimates."""

    slippage_bps: float = 0.0
    taker_share_pct: float = 9.0
    deadline_miss_pct: float = 2.0


@dataclass(frozen=True)
class Score:
    """What a point did against the control over some segments: means of hourly differences and their standard errors [bps]."""

    net_bps: float
    net_se: float
    slippage_bps: float
    slippage_se: float
    taker_share_pct: float
    deadline_miss_pct: float
    buckets: int

    @property
    def edge(self) -> float:
        """Mean effect less one standard error: what the search maximises."""
        return self.net_bps - self.net_se

    def keeps(self, limits: Limits) -> bool:
        """Whether the safety gates hold; too few buckets hold nothing."""
        return (
            self.buckets >= MIN_BUCKETS
            and self.slippage_bps <= limits.slippage_bps
            and self.taker_share_pct <= limits.taker_share_pct
            and self.deadline_miss_pct < limits.deadline_miss_pct
        )


@dataclass(frozen=True)
class Choice:
    """A fold's choice; ``point`` is None where nothing kept the gates. ``candidates`` is how many were compared."""

    fold: int
    point: Point | None
    train: Score | None
    unseen: Score | None
    candidates: int


@dataclass
class Calibration:
    """A finished search: choices by fold, every trial on its fold's train stretch, and the hourly money of the last choice."""

    choices: list[Choice]
    table: pd.DataFrame
    money: pd.DataFrame
    evaluated: int
    reused: int


@dataclass
class Search:
    """A search in progress; ``results`` holds what every trial came to, by key.

    Attributes:
        market, config, symbols: what is replayed; the config is that of both arms, without a point's values.
        first_ns: start of segment 0, on a full hour.
        trials: points of the space-filling design and as many again near the best ones, over all folds.
    """

    market: Market
    config: Config
    symbols: tuple[str, ...]
    first_ns: int
    hours: int
    train_h: int
    unseen_h: int
    ranges: tuple[Range, ...]
    trials: int
    seed: int
    store: Store
    workers: int = 1
    scheduler: str = ""
    limits: Limits = Limits()
    progress: Progress | None = None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluated: int = 0
    reused: int = 0

    def run(self) -> Calibration:
        """Search and judge.

        Raises:
            UserError: ranges or lengths that make no search.
        """
        check_ranges(self.ranges)
        if self.first_ns % _HOUR_NS:
            raise ValueError(f"first_ns {self.first_ns}: expected a full hour")
        if self.trials < 2:
            raise UserError(f"--trials {self.trials}: expected at least 2")
        self.segment_h, folds = walk_forward(self.hours, self.train_h, self.unseen_h)
        flat = shipped_point(self.config, self.ranges)
        design = _distinct([flat, *spread_points(self.ranges, max(self.trials // 2, 1), self.seed)])
        seen = sorted({segment for fold in folds for segment in fold.train})
        self._ensure([(None, seen), *((point, seen) for point in design)])
        choices, rows = [], []
        for number, fold in enumerate(folds):
            pool = list(design)
            more = max((self.trials - self.trials // 2) // (len(_WIDTHS) * len(folds)), 1)
            for step, width in enumerate(_WIDTHS):
                pool = _distinct([*pool, *self._refined(pool, fold, more, width, 100 * number + step)])
                self._ensure([(point, fold.train) for point in pool])
            scored = [(self.score(point, fold.train), point) for point in pool]
            rows += [_row(number, score, point, self.limits, point == flat) for score, point in scored]
            choices.append(self._judge(number, fold, scored))
        last = choices[-1]
        money = self._money(last.point, folds[-1].unseen) if last.point is not None else _no_money()
        return Calibration(choices, pd.DataFrame(rows), money, self.evaluated, self.reused)

    def score(self, point: Point | None, segments: Iterable[int]) -> Score:
        """B minus A over segments, one number an hour (the mean over symbols), of the hours that the A/B experiment takes."""
        arms = {None: self._hours(None, segments), "B": self._hours(point, segments)}
        control, treated = arms[None][0], arms["B"][0]
        control, whole = (
            one[(one["coverage"] >= MIN_COVERAGE) & (one["notional"] > 0)] for one in (control, treated)
        )
        both = control.merge(whole, left_index=True, right_index=True, suffixes=("_a", "_b"))
        delta = pd.DataFrame(
            {name: both[f"{name}_b"] - both[f"{name}_a"] for name in ("net_bps", "slippage_bps")}
        ).dropna()
        by_hour = delta.groupby(level="bucket_ns").mean()
        n = len(by_hour)
        mean = by_hour.mean() if n else pd.Series({"net_bps": math.nan, "slippage_bps": math.nan})
        error = by_hour.std(ddof=1) / math.sqrt(n) if n > 1 else mean * math.nan
        traded = float(treated["notional"].sum())
        n_ticks, n_misses = arms["B"][1]
        return Score(
            net_bps=float(mean["net_bps"]),
            net_se=float(error["net_bps"]),
            slippage_bps=float(mean["slippage_bps"]),
            slippage_se=float(error["slippage_bps"]),
            taker_share_pct=100.0 * float(treated["taker_notional"].sum()) / traded if traded else math.nan,
            deadline_miss_pct=100.0 * n_misses / n_ticks if n_ticks else math.nan,
            buckets=n,
        )

    def _refined(self, pool: Sequence[Point], fold: Fold, n: int, width: float, salt: int) -> list[Point]:
        """Points near the best of a pool on a fold's train stretch."""
        ranked = sorted(pool, key=lambda point: _badness(self.score(point, fold.train), self.limits))
        top = ranked[: min(_TOP, n)]
        shares = [n // len(top) + (1 if k < n % len(top) else 0) for k in range(len(top))]
        return [
            point
            for k, (centre, share) in enumerate(zip(top, shares, strict=True))
            for point in near_points(self.ranges, centre, share, width, self.seed + 10_000 * (k + 1) + salt)
        ]

    def _judge(self, number: int, fold: Fold, scored: Sequence[tuple[Score, Point]]) -> Choice:
        """The best point that keeps the gates, and what it does on the hours it has not seen."""
        score, point = min(scored, key=lambda pair: _badness(pair[0], self.limits))
        if not score.keeps(self.limits):
            return Choice(number, None, None, None, len(scored))
        self._ensure([(None, fold.unseen), (point, fold.unseen)])
        return Choice(number, point, score, self.score(point, fold.unseen), len(scored))

    def _ensure(self, wanted: Sequence[tuple[Point | None, Sequence[int]]]) -> None:
        """Have every wanted trial's result: from memory, from the store, or made now."""
        missing: dict[tuple[str, int], list[Trial]] = {}
        for point, segments in wanted:
            for segment in segments:
                for symbol in self.symbols:
                    trial = self._trial(symbol, segment, point)
                    key = self._key(trial)
                    if key in self.results:
                        continue
                    kept = self.store.load(key)
                    if kept is not None:
                        self.results[key] = kept
                        self.reused += 1
                    elif trial not in (place := missing.setdefault((symbol, segment), [])):
                        place.append(trial)
        batches = [
            Batch(self.market, self._plain, tuple(trials[at : at + _BATCH]))
            for trials in missing.values()
            for at in range(0, len(trials), _BATCH)
        ]
        total = len(self.results) + sum(len(batch.trials) for batch in batches)
        with self._farm(len(batches)) as farm:
            for _, done in farm.each(evaluate, batches):
                for key, result in done:
                    self.store.keep(key, result)
                    self.results[key] = result
                    self.evaluated += 1
                if self.progress is not None:
                    self.progress(len(self.results), total)

    def _farm(self, batches: int) -> AbstractContextManager[Farm]:
        """A cluster, whose workers need this package and the recordings under the same paths, or this machine."""
        if self.scheduler:
            return open_farm(scheduler=self.scheduler)
        workers = min(self.workers, batches)
        return nullcontext(processes(workers, end_with_parent) if workers > 1 else Here())

    @property
    def _plain(self) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    def _trial(self, symbol: str, segment: int, point: Point | None) -> Trial:
        return Trial(
            symbol, self.first_ns + segment * self.segment_h * _HOUR_NS, float(self.segment_h), point
        )

    def _key(self, trial: Trial) -> str:
        return trial_key(Batch(self.market, self._plain, ()), trial)

    def _hours(self, point: Point | None, segments: Iterable[int]) -> tuple[pd.DataFrame, tuple[int, int]]:
        """Hourly money by (symbol, bucket_ns), and ticks and misses, of an arm over segments."""
        rows, n_ticks, n_misses = [], 0, 0
        for segment in segments:
            for symbol in self.symbols:
                found = self.results[self._key(self._trial(symbol, segment, point))]
                rows += [{"symbol": symbol, **row} for row in found["buckets"]]
                n_ticks += found["n_ticks"]
                n_misses += found["n_misses"]
        columns = ["symbol", "bucket_ns", "notional", "taker_notional", "net_bps", "slippage_bps", "coverage"]
        frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:], "float64"))
        return frame.set_index(["symbol", "bucket_ns"]), (n_ticks, n_misses)

    def _money(self, point: Point | None, segments: Iterable[int]) -> pd.DataFrame:
        """Hourly money of both arms in the shape of ``metrics.money.bucket_money``, for the experiment."""
        parts = []
        for arm, of_arm in (("A", None), ("B", point)):
            frame = self._hours(of_arm, segments)[0].reset_index()
            frame["bucket"] = pd.to_datetime(frame.pop("bucket_ns"), utc=True)
            parts.append(frame.assign(arm=arm))
        return pd.concat(parts, ignore_index=True)


def _badness(score: Score, limits: Limits) -> tuple[int, float]:
    """Sorts what keeps the gates by its edge, before what does not by how far off its slippage is."""
    if score.keeps(limits) and math.isfinite(score.edge):
        return 0, -score.edge
    return 1, score.slippage_bps if math.isfinite(score.slippage_bps) else math.inf


def _distinct(points: Iterable[Point]) -> list[Point]:
    return list({sha256_json(point): point for point in points}.values())


def _row(fold: int, score: Score, point: Point, limits: Limits, shipped: bool) -> dict[str, Any]:
    return {
        "fold": fold,
        **vars(score),
        "edge": score.edge,
        "keeps_gates": score.keeps(limits),
        "shipped": shipped,
        **point,
    }


def _no_money() -> pd.DataFrame:
    return pd.DataFrame(
        columns=["symbol", "arm", "bucket", "notional", "net_bps", "slippage_bps", "coverage"]
    )


def next_full_hour_ns(time_ns: int) -> int:
    """The first full hour at or after a time."""
    return -(-time_ns // _HOUR_NS) * _HOUR_NS


def as_overrides(point: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """A point as a nested mapping, the form of an override file."""
    tree: dict[str, dict[str, Any]] = {}
    for key, value in point.items():
        section, _, leaf = key.partition(".")
        tree.setdefault(section, {})[leaf] = int(value) if isinstance(value, np.integer) else value
    return tree
