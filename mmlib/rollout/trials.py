"""One trial of a calibration: an arm with given parameters over one window of one symbol, hour by hour; kept on disk.

A trial is known by a hash of everything that decides it (parameters, configuration, market, window, code), so that a search
that was interrupted, or asked for more, does only what is missing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmlib._io import UserError, read_json, sha256_json, write_json
from mmlib.config.models import Config
from mmlib.dtypes import ARMS, Liquidity
from mmlib.engine.params import arm_params
from mmlib.engine.window import Window, cut_window, market_source, replay_window
from mmlib.metrics.money import bucket_money
from mmlib.rollout.safety import BUCKET_S

_MARKET_CODE = ("core", "market", "engine", "metrics", "dtypes.py")
_COLUMNS = ("notional", "taker_notional", "n_fills", "net_bps", "slippage_bps", "gross_bps", "coverage")


@dataclass(frozen=True)
class Market:
    """Which market is replayed: source, seed, and where its time begins [ns]; simulated time is continuous from there."""

    uri: str
    seed: int
    start_ns: int
    offset_s: float = 0.0
    source_sha256: str = ""


@dataclass(frozen=True)
class Trial:
    """An arm over one window: ``first_ns`` and ``hours`` bound it; ``point`` is None for the control."""

    symbol: str
    first_ns: int
    hours: float
    point: Mapping[str, Any] | None


@dataclass(frozen=True)
class Batch:
    """Trials on one window, evaluated one after the other by one worker, which reads the window once."""

    market: Market
    config: Mapping[str, Any]
    trials: tuple[Trial, ...]


def evaluate(batch: Batch) -> list[tuple[str, dict[str, Any]]]:
    """(key, result) of every trial of a batch; runs in a process of its own."""
    return [(trial_key(batch, trial), _evaluate(batch, trial)) for trial in batch.trials]


def trial_key(batch: Batch, trial: Trial) -> str:
    """Hash of everything that decides a trial."""
    config = {k: v for k, v in batch.config.items() if k not in ("async_batch", "telemetry", "trace")}
    decides = {
        "market": asdict(batch.market),
        "config": config,
        "trial": asdict(trial),
        "code": market_code_sha256(),
    }
    return sha256_json(decides)


@cache
def market_code_sha256() -> str:
    """SHA-256 over the source that turns parameters and events into money."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for name in _MARKET_CODE:
        place = package / name
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _evaluate(batch: Batch, trial: Trial) -> dict[str, Any]:
    config = Config.model_validate(batch.config)
    window = _window(batch.market, _frozen(batch.config), trial.symbol, trial.first_ns, trial.hours)
    params = arm_params(_at(config, trial.point), window.instrument, ARMS)
    row = params[:1] if trial.point is None else params[1:]
    ticks, fills = replay_window(window, config, ARMS, seed=batch.market.seed, params=row)
    arm = ARMS[0] if trial.point is None else ARMS[1]
    money = bucket_money(
        _tick_frame(ticks, trial.symbol, arm), _fill_frame(fills, trial.symbol, arm), BUCKET_S
    )
    rows = [
        {"bucket_ns": int(bucket.value), **{name: _finite(values[name]) for name in _COLUMNS}}
        for bucket, values in zip(money["bucket"], money.to_dict("records"), strict=True)
    ]
    return {"n_ticks": len(ticks), "n_misses": int(ticks["deadline_miss"].sum()), "buckets": rows}


def _at(config: Config, point: Mapping[str, Any] | None) -> Config:
    from mmlib.rollout.searchspace import with_point

    return config if point is None else with_point(config, point)


class _Frozen(dict[str, Any]):
    """A configuration as a key of a cache."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(sha256_json(dict(self)))


def _frozen(config: Mapping[str, Any]) -> _Frozen:
    return _Frozen(config)


@lru_cache(maxsize=1)
def _window(market: Market, config: _Frozen, symbol: str, first_ns: int, hours: float) -> Window:
    source = market_source(
        market.uri,
        symbol,
        Config.model_validate(dict(config)),
        seed=market.seed,
        start_ns=market.start_ns,
        offset_s=market.offset_s if market.uri == "simulated" else 0.0,
    )
    return cut_window(source, first_ns, hours * 3600.0)


def _tick_frame(ticks: np.ndarray, symbol: str, arm: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(ticks["ts_ns"], utc=True),
            "symbol": symbol,
            "arm": arm,
            "mid": ticks["mid"],
            "inventory": ticks["inventory"],
        }
    )


def _fill_frame(fills: np.ndarray, symbol: str, arm: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(fills["ts_ns"], utc=True),
            "symbol": symbol,
            "arm": arm,
            "side": np.where(fills["side"] > 0, "buy", "sell"),
            "liquidity": np.where(fills["liquidity"] == int(Liquidity.TAKER), "taker", "maker"),
            **{name: fills[name] for name in ("price", "qty", "fee", "mid_at_quote", "mid_at_fill")},
        }
    )


class Store:
    """Results of trials in a directory, one file each, written when it is whole."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def load(self, key: str) -> dict[str, Any] | None:
        """A result, None where there is none or what is there cannot be read (it is made again)."""
        path = self.home / key[:2] / f"{key}.json"
        if not path.exists():
            return None
        try:
            found = read_json(path)
        except UserError:
            return None
        return found if isinstance(found, dict) and {"n_ticks", "n_misses", "buckets"} <= set(found) else None

    def keep(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        write_json(self.home / key[:2] / f"{key}.json", dict(result))


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
