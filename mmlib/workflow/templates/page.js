// Draws the figures that a page carries as JSON; nothing is fetched.
"use strict";
addEventListener("DOMContentLoaded", () => {
  const ink = () => getComputedStyle(document.body).color;
  const config = { displaylogo: false, responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"] };
  if (innerWidth < 700) config.displayModeBar = false; // it would cover the titles
  const boxes = [...document.querySelectorAll("[data-figure]")];
  for (const box of boxes) {
    const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
    const layout = Object.assign({}, figure.layout, { autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
    layout.font = Object.assign({}, layout.font, { color: ink() });
    layout.modebar = Object.assign({ bgcolor: "rgba(0,0,0,0)" }, layout.modebar);
    delete layout.width;
    if (layout.height) box.style.minHeight = layout.height + "px";
    if (layout.meta && layout.meta.wide) box.style.minWidth = "46rem"; // scrolls on a phone
    Plotly.newPlot(box, figure.data, layout, config).then(
      () => { box.dataset.drawn = "yes"; },
      (error) => { box.textContent = "This figure could not be drawn: " + error; });
  }
  const recolour = () => boxes.forEach((box) => Plotly.relayout(box, { "font.color": ink() }));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  matchMedia("print").addEventListener("change", recolour);
});
