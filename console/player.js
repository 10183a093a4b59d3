// Plays a track back: a slider of time, a button, and how fast. The slider's arrow keys go from fix to fix.
import { ageOf, moment } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { GAP_MS } from "/console/features.js";
import { labels } from "/console/words.js";

const SPEEDS = [10, 60, 300, 1200];
const USUAL_SPEED = 60;
const LONGEST_STEP_MS = 250; // after a pause of the browser's it goes on from where it stood

// The last fix at or before a time; the first where there is none.
export function fixAt(fixes, at_ms) {
  let [low, high] = [0, fixes.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (Date.parse(fixes[middle].recorded_at) <= at_ms) low = middle;
    else high = middle - 1;
  }
  return low;
}

export class Player {
  #fixes = [];
  #at_ms = 0;
  #frame = null;
  #onMove;

  // `onMove` gets the fix that is shown, null when there is none.
  constructor(onMove) {
    this.#onMove = onMove;
    this.slider = make("input", { type: "range", class: "time", min: 0, max: 0, step: 1, "aria-label": labels.player.time, oninput: () => this.#slide(), onkeydown: (event) => this.#press(event) });
    this.button = make("button", { type: "button", class: "primary", onclick: () => this.toggle() }, labels.player.play);
    this.speed = make("select", {}, ...SPEEDS.map((speed) => make("option", { value: speed, selected: speed === USUAL_SPEED }, labels.player.times(speed))));
    this.told = make("p", { class: "told" });
    this.element = make("div", { class: "player", role: "group", "aria-label": labels.player.title },
      this.button, this.slider, make("label", { class: "inline" }, labels.player.speed, this.speed), this.told,
      make("p", { class: "hint" }, labels.player.hint));
  }

  // The believed fixes in order of time. Who looks at the newest goes on looking at the newest.
  show(fixes, { from = null } = {}) {
    const atEnd = this.#fixes.length === 0 || this.#at_ms >= this.#lastMs;
    this.#fixes = fixes;
    this.element.hidden = fixes.length === 0;
    if (fixes.length === 0) {
      this.stop();
      this.#onMove(null);
      return;
    }
    this.slider.min = this.#firstMs;
    this.slider.max = this.#lastMs;
    if (from !== null) this.seek(from);
    else this.seek(atEnd && this.#frame === null ? this.#lastMs : this.#at_ms);
  }

  seek(at_ms) {
    this.#at_ms = Math.max(this.#firstMs, Math.min(at_ms, this.#lastMs));
    this.slider.value = this.#at_ms;
    const fix = this.#fixes[fixAt(this.#fixes, this.#at_ms)];
    const text = textOf(fix, this.#at_ms);
    this.slider.setAttribute("aria-valuetext", text);
    write(this.told, text);
    this.#onMove(fix);
  }

  toggle() {
    if (this.#frame !== null) this.stop();
    else if (this.#fixes.length > 0) this.#play();
  }

  stop() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame);
    this.#frame = null;
    write(this.button, labels.player.play);
  }

  get #firstMs() {
    return Date.parse(this.#fixes[0].recorded_at);
  }

  get #lastMs() {
    return Date.parse(this.#fixes.at(-1).recorded_at);
  }

  #play() {
    write(this.button, labels.player.stop);
    if (this.#at_ms >= this.#lastMs) this.seek(this.#firstMs);
    let last = performance.now();
    const step = (now) => {
      const passed = Math.min(now - last, LONGEST_STEP_MS);
      last = now;
      this.seek(this.#at_ms + passed * Number(this.speed.value));
      if (this.#at_ms < this.#lastMs) this.#frame = requestAnimationFrame(step);
      else this.stop();
    };
    this.#frame = requestAnimationFrame(step);
  }

  #slide() {
    this.stop();
    this.seek(Number(this.slider.value));
  }

  #press(event) {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.ctrlKey || event.altKey || event.metaKey || (way === undefined && event.key !== " ")) return;
    event.preventDefault();
    if (event.key === " ") {
      this.toggle();
      return;
    }
    this.stop();
    const next = fixAt(this.#fixes, this.#at_ms) + way;
    this.seek(Date.parse(this.#fixes[Math.max(0, Math.min(next, this.#fixes.length - 1))].recorded_at));
  }
}

function textOf(fix, at_ms) {
  const parts = [moment(at_ms), `${fix.lat.toFixed(5)}, ${fix.lon.toFixed(5)}`];
  const quiet_ms = at_ms - Date.parse(fix.recorded_at);
  if (quiet_ms > GAP_MS) parts.push(labels.player.noPosition(ageOf(quiet_ms / 1000)));
  if (fix.accuracy !== null) parts.push(labels.common.accurate(Math.round(fix.accuracy)));
  if (fix.speed !== null) parts.push(`${fix.speed.toFixed(1)} m/s`);
  parts.push(fix.geofence_violation ? labels.guards.violation.toLowerCase() : fix.in_geofence ? labels.player.inside : labels.player.outside);
  return parts.join(" · ");
}
