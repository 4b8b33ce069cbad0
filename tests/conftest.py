"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# CI judges a change by the same examples each time; elsewhere every run looks at new ones.
# No example is judged by its time: the first may compile.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session", autouse=True)
def _own_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's key of the chain is not touched by tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real recordings beside the checkout; tests that need them are skipped, with the reason, when they are absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"real recordings are absent: {path} does not exist (a clone without ../shared)")
    return path


@pytest.fixture(scope="session")
def live_kernels(request: pytest.FixtureRequest) -> None:
    """What a live session and the exchange that it meets run is compiled before one waits for the other, and said."""
    from mmlib.core import compiling
    from mmlib.workflow.kernelfamilies import build

    compiled: list[str] = []
    with compiling.heard(lambda kernel, done: compiled.append(kernel) if done else None):
        for family in ("live", "market"):
            build(family)
    if reporter := request.config.pluginmanager.get_plugin("terminalreporter"):
        reporter.write_line(
            f"kernels of live sessions are there, {len(compiled)} functions of them compiled now"
        )
