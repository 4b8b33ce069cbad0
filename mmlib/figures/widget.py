"""A figure that lives in Jupyter, and a still of it for every other reader of the notebook."""

from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go

STILL = "application/vnd.plotly.v1+json"


class Widget(go.FigureWidget):
    """A ``FigureWidget`` whose notebook output also holds the figure as it stands, so that a saved notebook shows it."""

    def show_figure(self, drawn: go.Figure) -> None:
        """Show another figure, in place."""
        with self.batch_update():
            self.data = ()
            self.layout = drawn.layout
        if drawn.data:
            self.add_traces(list(drawn.data))

    def still(self) -> dict[str, Any]:
        """The figure as plain JSON types."""
        payload: dict[str, Any] = json.loads(self.to_json())
        return payload

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(*args, **kwargs) or {}
        data, extra = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, STILL: self.still()}, extra
