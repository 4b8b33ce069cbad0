"""A figure that lives in Jupyter, and a still of it for every other reader of the notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import plotly.graph_objects as go

STILL = "application/vnd.plotly.v1+json"


class Widget(go.FigureWidget):
    """A ``FigureWidget`` that a browser may open at any time, and whose notebook output also holds a still of it.

    plotly gives a browser the figure as it was constructed, and every later change as a message of its own. A message that
    comes before the browser has loaded the widget's code is lost, which drew empty axes. So a change here ends by renewing
    what a browser starts from.
    """

    def show_figure(self, drawn: go.Figure) -> None:
        """Show another figure, in place."""
        with self.batch_update():
            self.data = ()
            self.layout = drawn.layout
        if drawn.data:
            self.add_traces(list(drawn.data))
        self._renew()

    def show_data(self, updates: Sequence[Mapping[str, Any]]) -> None:
        """Change attributes of the traces, in their order."""
        with self.batch_update():
            for place, update in enumerate(updates):
                self.data[place].update(update, overwrite=True)
        self._renew()

    def _renew(self) -> None:
        self._widget_layout = deepcopy(self._layout)
        self._widget_data = deepcopy(self._data)

    def still(self) -> dict[str, Any]:
        """The figure as plain JSON types."""
        payload: dict[str, Any] = json.loads(self.to_json())
        return payload

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(*args, **kwargs) or {}
        data, extra = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, STILL: self.still()}, extra
