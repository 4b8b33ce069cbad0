"""What a run executes: parameters of each step from its parameter file, the profile and the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib._io import UserError
from mmlib.workflow.manifest import Planned
from mmlib.workflow.params import check_source, check_symbols
from mmlib.workflow.runner import parameters_of
from mmlib.workflow.steps import Step

if TYPE_CHECKING:
    from mmlib.config.profiles import Profile


_SESSIONS = ("shadow", "soak", "ab")
"""Families of the steps that run a bot."""
FEED_FILES = "fills_*.jsonl and pipeline_ticks_*.jsonl"


@dataclass(frozen=True)
class Options:
    """What the command line says; ``steps`` holds parameters by step family (``ab`` for all stages)."""

    source: str = ""
    symbols: tuple[str, ...] = ()
    sets: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    clock: str = ""
    live_url: str = ""
    record: str = ""
    through: bool = False


def plan(
    ws: Path,
    steps: Sequence[Step],
    *,
    profile: str = "",
    options: Options | None = None,
    notebooks: Path | None = None,
) -> list[Planned]:
    """Put the parameters of each step together: ``params/steps/*.yaml``, then profile, then command line.

    Configuration and gates are read as well, and the source is looked for: what a notebook would refuse is refused
    before a kernel starts and before an earlier record of the step is replaced.

    Args:
        ws: the workspace; it gets the shipped parameter files that it lacks.
        steps: in the order of execution.
        profile: name or file of a profile, empty for the production parameters alone.
        options: from the command line.
        notebooks: where the notebooks are, by default those shipped.

    Raises:
        UserError: anything that is missing, misspelt or out of range.
    """
    from mmlib.config.load import ensure_params
    from mmlib.config.profiles import load_profile
    from mmlib.gates.spec import load_gates

    chosen = options or Options()
    ensure_params(ws)
    loaded = load_profile(ws, profile) if profile else None
    sets = {**(loaded.sets if loaded else {}), **chosen.sets}
    load_gates(ws)
    home = notebooks or notebooks_dir()
    return _one_recording_each([_planned(ws, step, home, loaded, chosen, sets) for step in steps])


def notebooks_dir() -> Path:
    """Where the notebooks of this installation are."""
    from mmlib.config.load import shipped_dir

    return shipped_dir("notebooks")


def absolute_source(source: str, base: Path) -> str:
    """A source whose path is absolute, so that it means the same in the notebook's working directory.

    Raises:
        UserError: an unknown source or exchange, or a recording or feeds directory that is not there.
    """
    kind, _, rest = check_source(source).partition(":")
    if kind not in ("recording", "feeds"):
        return source
    path = (base / Path(rest).expanduser()).resolve()
    if kind == "feeds" and not path.is_dir():
        raise UserError(f"{path}: no such directory; expected one with {FEED_FILES}")
    if not path.exists():
        raise UserError(f"{path}: no such file or directory; expected a recording to read")
    return f"{kind}:{path}"


def _planned(
    ws: Path, step: Step, home: Path, profile: Profile | None, options: Options, sets: Mapping[str, Any]
) -> Planned:

    notebook = home / f"{step.notebook}.ipynb"
    known = parameters_of(notebook)
    params = _step_file(ws, step)
    if profile is not None:
        common = {
            "profile": profile.name,
            "source": profile.source,
            "symbols": list(profile.symbols),
            "seed": profile.seed,
            "start": profile.start,
            "evidence_required": str(profile.evidence_required),
            "rehearsal": profile.rehearsal,
        }
        params |= {name: value for name, value in common.items() if name in known}
        params |= profile.steps.get(step.key, {})
    own = profile.steps.get(step.key, {}).get("sets", {}) if profile is not None else {}
    given_here = dict(options.steps.get(step.family, {}))
    treatment = given_here.pop("treatment", "") or params.pop("treatment", "")
    calibrated = _treatment(ws, step, treatment) if treatment else {}
    # the command line wins over the step, the step over its treatment, that over the profile
    merged = {**sets, **calibrated, **own, **options.sets}
    _check_config(ws, step, merged)
    given = {"source": options.source, "symbols": list(check_symbols(options.symbols)), "sets": merged}
    params |= {name: value for name, value in given.items() if value and name in known}
    source = options.source or (profile.source if profile is not None else "")
    if "source" in known:
        base = Path.cwd() if source else ws  # a step's file means the workspace that it lies in
        params["source"] = _live(absolute_source(str(params.get("source") or ""), base), options)
    elif "feeds" in known and source.startswith("feeds:"):
        params["feeds"] = absolute_source(source, Path.cwd()).removeprefix("feeds:")
    params |= given_here
    return Planned(step, notebook, params | dict(step.fixed) | {"workspace": "."})


def _treatment(ws: Path, step: Step, name: str) -> dict[str, Any]:
    from mmlib.config.treatment import treatment_sets

    if step.family != "ab":
        raise UserError(
            f"{step.key}: treatment: {name!r}; expected none, only the A/B stages have a treatment"
        )
    return treatment_sets(ws, name)


def _live(source: str, options: Options) -> str:
    """The source with what the command line says of a live one; a clock that does not fit is refused."""
    from mmlib.engine.realtime.options import LiveUri

    live = source.startswith("live:")
    if options.clock and (options.clock == "realtime") != live:
        fits = "live:EXCHANGE" if options.clock == "realtime" else "simulated or recording:PATH"
        raise UserError(
            f"--clock {options.clock}: source {source!r} has another clock; expected --source {fits}"
        )
    if not live:
        if options.live_url or options.record:
            raise UserError(
                f"--live-url, --record: source {source!r} is not live; expected --source live:EXCHANGE"
            )
        return source
    given = LiveUri.parse(source)
    record = Path(options.record).expanduser() if options.record else given.record
    return LiveUri(
        given.exchange,
        options.live_url or given.url,
        None if record is None else (Path.cwd() / record).resolve(),
    ).text()


def _one_recording_each(planned: list[Planned]) -> list[Planned]:
    """Where several steps would record, each gets a file of its own: ``name.shadow.gz``."""
    from mmlib.engine.realtime.options import LiveUri

    sources = {
        item.step.key: str(item.params.get("source", "")) for item in planned if item.step.family in _SESSIONS
    }
    recording = {key: LiveUri.parse(uri) for key, uri in sources.items() if uri.startswith("live:")}
    if sum(uri.record is not None for uri in recording.values()) < 2:
        return planned
    own = []
    for item in planned:
        uri = recording.get(item.step.key)
        if uri is not None and uri.record is not None:
            path = uri.record.with_name(f"{uri.record.stem}.{item.step.key}{uri.record.suffix}")
            source = LiveUri(uri.exchange, uri.url, path).text()
            item = replace(item, params={**item.params, "source": source})
        own.append(item)
    return own


def _check_config(ws: Path, step: Step, sets: Mapping[str, Any]) -> None:
    """Refuse settings that do not fit the files, in every way in which the step will load them."""
    from mmlib.config.load import SOAK_OVERRIDES_FILE, load_config

    load_config(ws, sets=sets)
    if step.key == "prep" or step.overrides:
        load_config(ws, [ws / SOAK_OVERRIDES_FILE], sets)


def _step_file(ws: Path, step: Step) -> dict[str, Any]:
    from mmlib.yamlfile import read_mapping

    return dict(read_mapping(ws / "params" / "steps" / f"{step.notebook}.yaml").tree)
