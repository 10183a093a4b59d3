// Lines over time. Without the charts' library the page says so; the table beside holds the same numbers.
import { make } from "/console/elements.js";
import { isDark, theme } from "/console/theme.js";
import { labels } from "/console/words.js";

const LIBRARY = "/console/vendor/uplot";
const HEIGHT = 180;
const LINE = { light: "#0b57a4", dark: "#7cbcff" };
const INK = { light: "#4c5966", dark: "#a3b0bd" };
const GRID = { light: "#c9d1d9", dark: "#33404d" };

let loading = null;

function library() {
  loading ??= import(`${LIBRARY}/uPlot.esm.js`).then((module) => {
    document.head.prepend(make("link", { rel: "stylesheet", href: `${LIBRARY}/uPlot.min.css` }));
    return module.default;
  });
  return loading;
}

export class Chart {
  #plot = null;
  #rows = [];
  #range;
  #left = true; // the library may come after the page was left
  #redraw = () => this.#draw();
  #observer = new ResizeObserver(() => this.#plot?.setSize({ width: this.box.clientWidth, height: HEIGHT }));

  // `range`: [lowest, highest] of the axis.
  constructor(title, unit, range) {
    this.#range = range;
    this.box = make("div");
    this.element = make("div", { class: "chart", role: "group", "aria-label": `${title}, chart` }, make("h3", {}, `${title}, ${unit}`), this.box);
  }

  start() {
    this.#left = false;
    theme.addEventListener("changed", this.#redraw);
    this.#observer.observe(this.box);
  }

  stop() {
    this.#left = true;
    theme.removeEventListener("changed", this.#redraw);
    this.#observer.disconnect();
    this.#plot?.destroy();
    this.#plot = null;
  }

  // `rows`: [Unix seconds, value] in order of time.
  show(rows) {
    this.#rows = rows;
    return this.#draw();
  }

  async #draw() {
    let Plot;
    try {
      Plot = await library();
    } catch (error) {
      loading = null;
      this.box.replaceChildren(make("p", { class: "quiet" }, labels.charts.missing(error.message)));
      return;
    }
    if (this.#left) return;
    this.#plot?.destroy();
    this.#plot = new Plot(this.#options(), [this.#rows.map(([at]) => at), this.#rows.map(([, value]) => value)], this.box);
  }

  #options() {
    const scheme = isDark() ? "dark" : "light";
    const axis = { stroke: INK[scheme], grid: { stroke: GRID[scheme], width: 1 }, ticks: { stroke: GRID[scheme], width: 1 } };
    const [low, high] = this.#range;
    return {
      width: this.box.clientWidth || 400, height: HEIGHT, legend: { show: false }, cursor: { y: false },
      scales: { y: { range: [low, high] } }, axes: [axis, axis],
      series: [{}, { stroke: LINE[scheme], width: 2, points: { size: 5 }, spanGaps: false }],
    };
  }
}
