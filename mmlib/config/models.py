"""The bot's configuration as frozen pydantic models: every key with unit, range and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from mmlib.config.incidents import parse_incident


class Section(BaseModel):
    """Base of every section: immutable; unknown keys, silent conversions, NaN and infinity refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _key(default: Any, unit: str, meaning: str, **limits: Any) -> Any:
    """One configuration key: default, unit ('' for none), meaning, and limits as pydantic names them."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **limits)


class Pipeline(Section):
    """The quoting pipeline and its schedule."""

    enabled: bool = _key(True, "", "run the quoting pipeline; off means no quotes at all")
    tick_interval_ms: int = _key(1000, "ms", "time between two scheduled ticks", ge=1, le=3_600_000)
    deadline_ms: int = _key(
        200,
        "ms",
        "a tick that ends later than this after its scheduled time is a deadline miss",
        ge=1,
        le=3_600_000,
    )


class Quoting(Section):
    """What is quoted when nothing adapts it."""

    base_spread_bps: float = _key(
        4.0, "bps", "full spread between our bid and our ask, both sides", gt=0, le=1000
    )
    order_notional: float = _key(1000.0, "quote currency", "size of one quote", gt=0)
    max_inventory_notional: float = _key(
        5000.0,
        "quote currency",
        "hard limit of the position; beyond it inventory is reduced by taker orders",
        gt=0,
    )
    requote_ticks: int = _key(
        1,
        "ticks",
        "a live quote stays while it is within this many ticks of the wanted price",
        ge=0,
        le=10_000,
    )

    @model_validator(mode="after")
    def _order_within_limit(self) -> Quoting:
        if self.order_notional > self.max_inventory_notional:
            raise ValueError(
                f"order_notional must be at most max_inventory_notional ({self.max_inventory_notional})"
            )
        return self


class MdCache(Section):
    """The local book as a cache: how old it may be before a synchronous refresh."""

    enabled: bool = _key(True, "", "answer fetch_md from the local book; off means a refresh on every tick")
    ttl_ms: int = _key(
        100, "ms", "age of the last update up to which a tick is a cache hit", ge=1, le=600_000
    )
    fresh_ms_for_pricing: int = _key(
        60, "ms", "age up to which a hit is priced without mark as stale", ge=0, le=600_000
    )
    stale_ok: bool = _key(True, "", "a hit older than fresh_ms_for_pricing may be priced (used_stale)")
    invalidate_on_ws_gap_ms: int = _key(
        300,
        "ms",
        "a resynchronisation of the stream after a break longer than this forces a refresh",
        ge=1,
        le=3_600_000,
    )


class TakerCap(Section):
    """Limit on the share of our volume that takes liquidity."""

    enabled: bool = _key(True, "", "refuse taker orders that would break the cap")
    max_taker_share_pct: float = _key(
        9.0, "%", "taker notional over traded notional within the window", ge=0, le=100
    )
    window_s: float = _key(3600.0, "s", "trailing window of the share", gt=0, le=86_400)


class Trace(Section):
    """Sampling of detailed stage traces."""

    enabled: bool = _key(True, "", "keep stage traces")
    sample_rate: float = _key(0.2, "share of ticks", "share of ticks traced in detail", ge=0, le=1)


class AsyncBatch(Section):
    """Symbols handled side by side."""

    enabled: bool = _key(True, "", "handle symbols in parallel; off means one after the other")
    max_parallel_symbols: int = _key(2, "symbols", "symbols handled at once", ge=1, le=256)


class AdaptiveSpread(Section):
    """Spread = base * (1 + sum of weight * score), kept within [min, max]; scores compare now with usual."""

    enabled: bool = _key(False, "", "adapt the spread to the market; arm B of the A/B test turns it on")
    min_spread_bps: float = _key(2.0, "bps", "narrowest full spread", gt=0, le=1000)
    max_spread_bps: float = _key(20.0, "bps", "widest full spread", gt=0, le=1000)
    vol_weight: float = _key(0.6, "", "weight of fast over slow volatility, minus 1", ge=0, le=5)
    liquidity_weight: float = _key(
        0.2, "", "weight of slow over fast depth at the touch, minus 1 (thinner than usual)", ge=0, le=5
    )
    latency_weight: float = _key(
        0.1, "", "weight of fast over slow feed latency, minus 1 (later than usual)", ge=0, le=5
    )
    pnl_weight: float = _key(
        0.1, "", "weight of the drawdown; 1 % of the inventory limit counts fully", ge=0, le=5
    )
    fast_halflife_s: float = _key(60.0, "s", "half-life of the fast averages (what is now)", gt=0, le=86_400)
    slow_halflife_s: float = _key(
        3600.0, "s", "half-life of the slow averages (what is usual)", gt=0, le=864_000
    )

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveSpread:
        if self.min_spread_bps > self.max_spread_bps:
            raise ValueError(f"min_spread_bps must be at most max_spread_bps ({self.max_spread_bps})")
        return self


class QueueAware(Section):
    """Nudge of a quote by its expected time to fill; arm B turns it on."""

    enabled: bool = _key(
        False, "", "move quotes by their place in the queue; arm B of the A/B test turns it on"
    )
    max_reprice_bps: float = _key(0.5, "bps", "largest nudge of one quote", ge=0, le=100)
    headroom_ms: int = _key(
        1000, "ms", "least time between two changes of a nudge; it holds in between", ge=0, le=3_600_000
    )
    eta_target_s: float = _key(30.0, "s", "wanted expected time to fill", gt=0, le=86_400)


class InventorySkew(Section):
    """Shift of both quotes against the position."""

    enabled: bool = _key(True, "", "shift quotes against the position")
    slope_bps: float = _key(2.0, "bps", "shift of the reservation price at full inventory", ge=0, le=1000)
    clamp_bps: float = _key(4.0, "bps", "largest shift", ge=0, le=1000)


class RiskGuards(Section):
    """Soft guard: widen and scale down. Hard guard: no quotes."""

    enabled: bool = _key(True, "", "watch volatility and silence of the market")
    soft_vol_bps: float = _key(
        3.0, "bps per sqrt(s)", "volatility (EWMA) above which the soft guard acts", gt=0
    )
    hard_vol_bps: float = _key(
        8.0, "bps per sqrt(s)", "volatility (EWMA) above which the hard guard acts", gt=0
    )
    soft_scale: float = _key(0.5, "factor", "quote size under the soft guard", gt=0, le=1)
    soft_widen: float = _key(1.5, "factor", "spread under the soft guard", ge=1, le=100)
    max_age_ms: int = _key(
        60_000, "ms", "a book silent for longer puts the hard guard on", ge=1, le=86_400_000
    )

    @model_validator(mode="after")
    def _ordered(self) -> RiskGuards:
        if self.soft_vol_bps >= self.hard_vol_bps:
            raise ValueError(f"soft_vol_bps must be below hard_vol_bps ({self.hard_vol_bps})")
        return self


class CircuitBreaker(Section):
    """Stops quoting after repeated errors."""

    enabled: bool = _key(True, "", "stop quoting after repeated errors")
    errors_to_open: int = _key(5, "errors", "errors in a row that open the breaker", ge=1, le=1_000_000)
    cool_off_s: float = _key(30.0, "s", "how long it stays open before a try", gt=0, le=86_400)


class Fees(Section):
    """Fees in basis points of the notional; negative is a rebate."""

    maker_bps: float = _key(-0.5, "bps", "fee of a maker fill; negative is a rebate", ge=-100, le=100)
    taker_bps: float = _key(7.0, "bps", "fee of a taker fill", ge=-100, le=100)


class Latency(Section):
    """Order latency, and the feed latency of sources that carry none of their own."""

    entry_ms: float = _key(10.0, "ms", "from our decision to the exchange", ge=0, le=60_000)
    response_ms: float = _key(10.0, "ms", "from the exchange back to us", ge=0, le=60_000)
    feed_median_ms: float = _key(
        5.0, "ms", "lognormal feed model: median (only sources without own latencies)", gt=0, le=60_000
    )
    feed_sigma: float = _key(0.5, "", "lognormal feed model: standard deviation of the logarithm", ge=0, le=5)


class FillModel(Section):
    """How the exchange model estimates queue position (replay and shadow only)."""

    queue_model: Literal["risk", "log", "log2", "power", "power2", "power3"] = _key(
        "log", "", "where a cancellation in the queue is assumed: risk = always behind us, others by depth"
    )
    queue_exponent: float = _key(3.0, "", "exponent n of the power models", gt=0, le=100)


class Market(Section):
    """The order-flow simulator; recordings and live markets ignore it."""

    preset: str = _key(
        "", "", "name of a file in params/market, such as btcusdt_perp; empty is the built-in market"
    )
    rate_per_s: float | None = _key(
        None,
        "events/s",
        "mean rate of messages of one symbol; null is the market's own (20 without a preset)",
        gt=0,
        le=100_000,
    )
    regime: Literal["calm", "normal", "stressed"] = _key("normal", "", "how volatile the simulated market is")


class Rehearsal(Section):
    """Incidents that are scripted into a session, to see that each trips the gate it should."""

    incidents: list[str] = _key([], "", "such as [latency_spike@2h:30m:300]")

    @field_validator("incidents")
    @classmethod
    def _readable(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_incident(text)
        return value


class InstrumentRules(Section):
    """Trading rules of one symbol."""

    tick_size: float = _key(..., "quote currency", "smallest price step", gt=0)
    lot_size: float = _key(..., "base units", "smallest quantity step", gt=0)


class Telemetry(Section):
    """Metrics endpoint of a running session."""

    port: int = _key(0, "", "TCP port of the metrics endpoint; 0 is off", ge=0, le=65_535)


class Notify(Section):
    """Who is told when a scheduled run fails."""

    command: list[str] = _key(
        [],
        "",
        "program and arguments, run without a shell; subject and text on its standard input; [] tells nobody",
    )
    timeout_s: float = _key(30.0, "s", "longest run of the command", gt=0, le=600)


class Config(Section):
    """The whole configuration of one bot; every section may be left out and then has its defaults."""

    pipeline: Pipeline = Pipeline()
    quoting: Quoting = Quoting()
    md_cache: MdCache = MdCache()
    taker_cap: TakerCap = TakerCap()
    trace: Trace = Trace()
    async_batch: AsyncBatch = AsyncBatch()
    adaptive_spread: AdaptiveSpread = AdaptiveSpread()
    queue_aware: QueueAware = QueueAware()
    inventory_skew: InventorySkew = InventorySkew()
    risk_guards: RiskGuards = RiskGuards()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    fees: Fees = Fees()
    latency: Latency = Latency()
    fill_model: FillModel = FillModel()
    market: Market = Market()
    rehearsal: Rehearsal = Rehearsal()
    instruments: dict[str, InstrumentRules] = Field(
        {},
        description="trading rules by symbol; a symbol that is absent has them inferred from its recording",
    )
    telemetry: Telemetry = Telemetry()
    notify: Notify = Notify()


def walk(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every scalar key of the configuration as (dotted name, field), in the order of the models.

    Keys of ``instruments`` are free symbols and not listed.
    """
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from walk(kind, f"{prefix}{name}.")
        elif not str(kind).startswith("dict"):
            yield f"{prefix}{name}", field


def flatten(tree: BaseModel | dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a configuration or of a nested mapping by dotted name; empty mappings vanish."""
    items = tree.model_dump() if isinstance(tree, BaseModel) else tree
    flat: dict[str, Any] = {}
    for name, value in items.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def expectation(field: FieldInfo) -> str:
    """What a key takes, for messages: ``a whole number >= 1 and <= 600000 [ms]``."""
    kind = field.annotation
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    names |= {type(None): "null"}
    if kind == list[str]:
        return "a list of words"
    text = (
        names.get(kind, "")
        if isinstance(kind, type)
        else "a list of texts"
        if kind == list[str]
        else " or ".join(names.get(v, str(v)) for v in get_args(kind))
    )
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    limits = [
        f"{sign} {getattr(entry, name)}"
        for entry in field.metadata
        for name, sign in signs.items()
        if getattr(entry, name, None) is not None
    ]
    unit = unit_of(field)
    return " ".join(
        part for part in (text or "a mapping", " and ".join(limits), f"[{unit}]" if unit else "") if part
    )


def unit_of(field: FieldInfo) -> str:
    """Unit of a key, '' for none."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""
