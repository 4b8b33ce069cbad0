"""A/A: how often the rules of a stage decide something between arms that do not differ.

Three kinds of data, each through the gates of a real stage: hours of a stage whose arms a coin toss swaps (no effect can be
left, the noise is the stage's own), stages drawn from a known process, and replays of the control against itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, read_json, sha256_json, write_json
from mmlib.gates.spec import Gate, GateBook
from mmlib.gates.sustained import fires
from mmlib.inference.rates import binomial_rate, rate_of
from mmlib.metrics.money import bucket_money
from mmlib.rollout.experiment import WIDE, Experiment, effect_sums
from mmlib.rollout.synthetic import (
    HOUR,
    PHIS,
    Outcomes,
    acceptance,
    draw_stages,
    harm_known,
    trailing_sum,
)

AA_FILE = "artifacts/edge/ab/aa.json"
SCHEMA = 1
STAGES, DRAWS = 1000, 1000
COLUMNS = ("data", "decision", "rule", "hits", "n", "rate_pct", "lower_pct", "upper_pct")
"""data: where the stages come from; decision: rollback, promotion, promotion at any look; rule: literal or statistical."""
_RULES = {
    "rollback": ("rollback", "statistical"),
    "literal_rollback": ("rollback", "literal"),
    "promote": ("promotion", "statistical"),
    "literal_promote": ("promotion", "literal"),
    "promote_at_any_look": ("promotion at any look", "statistical"),
    "literal_promote_at_any_look": ("promotion at any look", "literal"),
}
_NS = 60_000_000_000


def table_of(data: str, outcomes: Outcomes) -> pd.DataFrame:
    """Rates of one kind of data, columns COLUMNS, with exact binomial intervals."""
    rows = []
    for name, (decision, rule) in _RULES.items():
        rate = rate_of(getattr(outcomes, name))
        rows.append((data, decision, rule, rate.hits, rate.n, *rate.percent().values()))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def table_of_counts(data: str, counts: Mapping[tuple[str, str], int], n: int) -> pd.DataFrame:
    """Rates of judged replays: (decision, rule) -> how often, of ``n``."""
    rows = [(data, *key, hits, n, *binomial_rate(hits, n).percent().values()) for key, hits in counts.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def drawn(gates: Mapping[str, Gate], *, hours: int = 24, stages: int = STAGES, seed: int = 0) -> pd.DataFrame:
    """Rates over stages drawn without an effect, for each autocorrelation of ``synthetic.PHIS``."""
    parts = []
    for number, phi in enumerate(PHIS):
        outcomes = draw_stages(gates, stages=stages, hours=hours, phi=phi, seed=seed * 1009 + number)
        parts.append(table_of(f"drawn, φ = {phi:g}", outcomes))
    return pd.concat(parts, ignore_index=True)


def relabelled(
    gates: Mapping[str, Gate],
    ticks: pd.DataFrame,
    fills: pd.DataFrame,
    experiment: Experiment,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Outcomes | None:
    """Stages made of the hours of this one, the two arms of each swapped by a coin toss; None without paired hours.

    Under the coin no effect is left on average, whatever the arms were; the minutes, the trailing windows and the size of
    hourly differences stay those of the stage. Ticks and misses are not tossed.

    Args:
        gates: of a stage, by id.
        ticks, fills: feed frames of both arms.
        experiment: the paired experiment of the same frames.
        draws: how many stages.
        seed: of the coin.
    """
    if not experiment.buckets or not experiment.paired:
        return None
    minutes = bucket_money(ticks, fills, 60.0)
    start = minutes["bucket"].min().floor("h")
    offset = _minute(minutes["bucket"], start)
    size = int(offset.max()) + 1
    hours = -(-size // HOUR)
    coin = np.random.default_rng(seed).random((draws, hours)) < 0.5
    ts = start.value + np.arange(size, dtype=np.int64) * _NS
    guard = gates["ab.safety.slippage"]
    literal = np.zeros(draws, bool)
    swapped = coin[:, np.arange(size) // HOUR]
    for _, part in minutes.groupby("symbol", observed=True):
        literal |= fires(guard, ts, _slippage(part, start, size, swapped))
    by_hour = experiment.pairs.groupby("bucket", observed=True)[list(WIDE)].sum().sort_index()
    bucket = _minute(pd.Series(by_hour.index), start) // HOUR
    known = np.searchsorted((bucket + 1) * HOUR, np.arange(size), side="right") - 1
    slippage, net = (_tossed(effect_sums(by_hour, kind), coin[:, bucket]) for kind in ("slippage", "net"))
    planned = experiment.planned_buckets
    harm = fires(guard, ts, harm_known(slippage, planned, known))
    return Outcomes(harm, literal, *acceptance(gates["ab.accept.net"], net, planned))


def _tossed(sums: np.ndarray, coin: np.ndarray) -> np.ndarray:
    """``float64[4, draws, n]``: the two arms of an hour swapped where ``bool[draws, n]`` says so."""
    return np.where(coin, sums[[2, 3, 0, 1]][:, None, :], sums[:, None, :])


def _minute(times: pd.Series, start: pd.Timestamp) -> np.ndarray:
    return np.asarray((pd.DatetimeIndex(times).as_unit("ns").asi8 - start.value) // _NS)


def _slippage(part: pd.DataFrame, start: pd.Timestamp, size: int, swapped: np.ndarray) -> np.ndarray:
    """Slippage of B minus A over the trailing hour in one symbol, ``float64[draws, minutes]``; NaN without trades."""
    sums = {}
    for arm in ("A", "B"):
        rows = part[part["arm"] == arm]
        for name in ("slippage_cost", "slippage_notional"):
            dense = np.zeros(size)
            dense[_minute(rows["bucket"], start)] = rows[name].to_numpy(np.float64)
            sums[arm, name] = dense
    sides = []
    for own, other in (("A", "B"), ("B", "A")):
        cost, notional = (
            trailing_sum(np.where(swapped, sums[other, name], sums[own, name]), HOUR)
            for name in ("slippage_cost", "slippage_notional")
        )
        traded = notional > 1e-9 * max(float(notional.max()), 1e-300)  # a running sum leaves crumbs
        sides.append(np.divide(cost, notional, out=np.full(cost.shape, np.nan), where=traded) * 1e4)
    return np.asarray(sides[1] - sides[0])


def cached(ws: Path, book: GateBook, *, hours: int = 24, stages: int = STAGES, seed: int = 0) -> pd.DataFrame:
    """Error rates known in a workspace: what ``finishline ab --aa`` left there, else stages drawn now and kept.

    A file made with other gates, or damaged, is made anew.
    """
    path = ws / AA_FILE
    try:
        payload = read_json(path)
        if payload["schema"] == SCHEMA and payload["gates_sha256"] == fingerprint(book):
            return pd.DataFrame(payload["rates"], columns=list(COLUMNS))
    except (UserError, KeyError, TypeError, ValueError):
        pass
    gates = {gate.id: gate for gate in book.step("ab_10")}
    table = drawn(gates, hours=hours, stages=stages, seed=seed)
    keep(ws, book, [table], {"hours": hours, "stages": stages, "seed": seed})
    return table


def keep(ws: Path, book: GateBook, tables: Sequence[pd.DataFrame], facts: Mapping[str, Any]) -> Path:
    """Write ``artifacts/edge/ab/aa.json``: the rates, with what they were measured under."""
    rates = pd.concat(tables, ignore_index=True)
    payload = {
        "schema": SCHEMA,
        "gates_sha256": fingerprint(book),
        **facts,
        "rates": rates.astype(object).where(rates.notna(), None).to_dict("records"),
    }
    return write_json(ws / AA_FILE, payload)


def fingerprint(book: GateBook) -> str:
    """Hash of the A/B gates alone: other gates may change without touching these rates."""
    return sha256_json([gate.model_dump(mode="json") for gate in book.step("ab")])


def sentence(table: pd.DataFrame) -> str:
    """The rates of the literal rules in words, the statistical ones beside, for each kind of data."""
    parts = []
    for data, rows in table.groupby("data", sort=False):
        rate = {(r.decision, r.rule): f"{r.rate_pct:.3g} %" for r in rows.itertuples() if r.n}
        if rate:
            parts.append(
                f"{data}: rollback {rate['rollback', 'literal']} (the gates here: {rate['rollback', 'statistical']}), "
                f"promotion {rate['promotion', 'literal']} (here: {rate['promotion', 'statistical']})"
            )
    return "; ".join(parts)


def with_known(known: pd.DataFrame, tossed: Outcomes | None) -> pd.DataFrame:
    """Rates of this stage's own hours, where there are any, above those known of other stages."""
    if tossed is None:
        return known
    own = table_of("this stage's hours, arms tossed", tossed)
    return pd.concat([own, known], ignore_index=True)
