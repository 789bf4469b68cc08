// The curves: what came in the last two minutes, in the page's colours.
const SECONDS = 120;
const PLOTS = [
  [["energy", "energy", "#3b7fc4"], ["predicted_energy", "expected after the plan", "#2e9b62"]],
  [["surprise", "surprise", "#d9662b"]],
  [["plan_seconds", "plan", "#858d99"]],
];

export class Curves {
  constructor(...places) {
    this.points = [];
    this.plots = places.map((place, index) => new Plot(place, PLOTS[index]));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  clear() { this.points = []; }

  add(points) {
    this.points.push(...points);
    const begin = this.points.at(-1).t - SECONDS;
    this.points = this.points.filter((point) => point.t >= begin);
    this.draw();
  }

  draw() { for (const plot of this.plots) plot.show(this.points); }
}

class Plot {
  constructor(place, series) {
    this.place = place;
    this.series = series;
    const ink = () => getComputedStyle(document.body).getPropertyValue("--soft");
    const line = () => getComputedStyle(document.body).getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "11px system-ui" };
    this.plot = new uPlot({
      ...this.size(), legend: { show: series.length > 1, live: false }, cursor: { y: false, points: { show: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [{ ...axis, space: 80, size: 24, values: (_, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString()) }, { ...axis, size: 46, space: 22 }],
      series: [{}, ...series.map(([, label, stroke]) => ({ label, stroke, width: 2, points: { size: 4 }, spanGaps: true }))],
    }, [[], ...series.map(() => [])], place);
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(place);
  }

  size() { return { width: Math.max(this.place.clientWidth, 120), height: this.place.clientHeight - (this.series.length > 1 ? 24 : 0) }; }

  show(points) { this.plot.setData([points.map((point) => point.t), ...this.series.map(([name]) => points.map((point) => point[name]))]); }
}
