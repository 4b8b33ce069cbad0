"""Turns the configuration into the parameter row that the kernels read, one a (symbol, arm)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmlib.core.queue import QUEUE_MODELS
from mmlib.core.state import PARAMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmlib.config.models import Config
    from mmlib.market.source import Instrument

_MS = 1_000_000
_S = 1_000_000_000


def arm_params(config: Config, instrument: Instrument, arms: Sequence[str]) -> np.ndarray:
    """Parameters of each arm as ``PARAMS[len(arms)]``.

    With a single arm the configuration counts as it is. With two, A is the control (adaptive spread and queue-ETA off)
    and B the treatment (both on); everything else is equal.
    """
    rows = np.zeros(len(arms), PARAMS)
    for name, value in _shared(config, instrument).items():
        rows[name] = value
    if len(arms) > 1:
        for row, arm in zip(rows, arms, strict=True):
            row["adaptive_enabled"] = row["queue_aware_enabled"] = int(arm == "B")
    return rows


def _shared(config: Config, instrument: Instrument) -> dict[str, float]:
    """Every field of PARAMS by name, units as the names say."""
    cache, guards, adaptive, aware = (
        config.md_cache,
        config.risk_guards,
        config.adaptive_spread,
        config.queue_aware,
    )
    return {
        "tick_size": instrument.tick_size,
        "lot_size": instrument.lot_size,
        "queue_model": QUEUE_MODELS[config.fill_model.queue_model],
        "queue_exponent": config.fill_model.queue_exponent,
        "entry_ns": int(config.latency.entry_ms * _MS),
        "response_ns": int(config.latency.response_ms * _MS),
        "maker_bps": config.fees.maker_bps,
        "taker_bps": config.fees.taker_bps,
        "pipeline_enabled": config.pipeline.enabled,
        "tick_interval_ns": int(config.pipeline.tick_interval_ms * _MS),
        "deadline_ms": config.pipeline.deadline_ms,
        "cache_enabled": cache.enabled,
        "ttl_ns": int(cache.ttl_ms * _MS),
        "fresh_ns": int(cache.fresh_ms_for_pricing * _MS),
        "stale_ok": cache.stale_ok,
        "gap_ns": int(cache.invalidate_on_ws_gap_ms * _MS),
        "trace_share": config.trace.sample_rate if config.trace.enabled else 0.0,
        "base_spread_bps": config.quoting.base_spread_bps,
        "order_notional": config.quoting.order_notional,
        "max_inventory_notional": config.quoting.max_inventory_notional,
        "requote_ticks": config.quoting.requote_ticks,
        "adaptive_enabled": adaptive.enabled,
        "min_spread_bps": adaptive.min_spread_bps,
        "max_spread_bps": adaptive.max_spread_bps,
        "vol_weight": adaptive.vol_weight,
        "liquidity_weight": adaptive.liquidity_weight,
        "latency_weight": adaptive.latency_weight,
        "pnl_weight": adaptive.pnl_weight,
        "fast_halflife_s": adaptive.fast_halflife_s,
        "slow_halflife_s": adaptive.slow_halflife_s,
        "queue_aware_enabled": aware.enabled,
        "max_reprice_bps": aware.max_reprice_bps,
        "headroom_ns": int(aware.headroom_ms * _MS),
        "eta_target_s": aware.eta_target_s,
        "skew_enabled": config.inventory_skew.enabled,
        "skew_bps": config.inventory_skew.slope_bps,
        "skew_clamp_bps": config.inventory_skew.clamp_bps,
        "guards_enabled": guards.enabled,
        "soft_vol_bps": guards.soft_vol_bps,
        "hard_vol_bps": guards.hard_vol_bps,
        "soft_scale": guards.soft_scale,
        "soft_widen": guards.soft_widen,
        "max_age_ns": int(guards.max_age_ms * _MS),
        "breaker_enabled": config.circuit_breaker.enabled,
        "errors_to_open": config.circuit_breaker.errors_to_open,
        "cool_off_ns": int(config.circuit_breaker.cool_off_s * _S),
        "taker_cap_enabled": config.taker_cap.enabled,
        "taker_cap_share": config.taker_cap.max_taker_share_pct / 100.0,
        "taker_window_s": config.taker_cap.window_s,
    }
