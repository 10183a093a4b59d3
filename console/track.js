// A guard's track on a map, with the slider that plays it back.
import { get } from "/console/api.js";
import { now } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { fixFeature, markFeature, trackFeatures } from "/console/features.js";
import { trackLayers } from "/console/layers.js";
import { PageMap } from "/console/pagemap.js";
import { Player } from "/console/player.js";
import { labels } from "/console/words.js";

const MAX_POINTS = 1000;
const LOOK_AGAIN_MS = 15_000;

export class TrackView {
  #guardId;
  #period = null;
  #from = null;
  #fixes = [];
  #points = [];
  #shown = null;
  #fitted = false;
  #mark = null;
  #timer = null;
  #map = new PageMap({ sources: { zones: {}, sites: {}, track: {}, "track-now": {}, "track-marks": {} }, layers: trackLayers });
  #player = new Player((fix) => this.#move(fix));

  constructor(guardId) {
    this.#guardId = guardId;
    this.count = make("p", { class: "quiet track-count" });
    this.problem = make("p", { role: "alert" });
    this.element = make("div", { class: "track" }, this.count, this.problem, this.#map.canvas, this.#player.element);
    this.#player.element.hidden = true;
  }

  // `period`: {since, until} as Date. `from`: the time that the slider starts at; `mark`: a place with a name.
  async show(period, { from = null, mark = null } = {}) {
    this.#period = period;
    this.#from = from;
    this.#mark = mark;
    this.#fitted = false;
    await this.#load();
  }

  async start() {
    this.#timer = setInterval(() => this.#load(), LOOK_AGAIN_MS);
    if (!(await this.#map.open())) return;
    this.#draw();
    try {
      await this.#map.drawPlaces();
    } catch (error) {
      write(this.problem, labels.common.notDrawn(error.message));
    }
  }

  stop() {
    clearInterval(this.#timer);
    this.#player.stop();
    this.#map.close();
  }

  seek(at_ms) {
    if (this.#fixes.length > 0) this.#player.seek(at_ms);
  }

  async #load() {
    const period = this.#period;
    if (period === null || (this.#points.length > 0 && this.#fitted && period.until < new Date(now() - LOOK_AGAIN_MS))) return;
    const query = new URLSearchParams({ since: period.since.toISOString(), until: period.until.toISOString(), max_points: MAX_POINTS });
    try {
      const track = await get(`/guards/${encodeURIComponent(this.#guardId)}/track?${query}`);
      if (this.#period === period) this.#take(track);
    } catch (error) {
      if (this.#period === period) write(this.problem, labels.track.notUpToDate(error.message));
    }
  }

  #take({ points, count }) {
    write(this.problem, "");
    write(this.count, countOf(points, count));
    this.#points = points;
    this.#fixes = points.filter(({ implausible }) => !implausible);
    this.#player.show(this.#fixes, { from: this.#from });
    this.#from = null;
    this.#draw();
  }

  #draw() {
    if (!this.#map.map) return;
    this.#map.draw("track", trackFeatures(this.#points));
    this.#map.draw("track-marks", this.#mark ? [markFeature(this.#mark, this.#mark.name)] : []);
    this.#move(this.#shown);
    const places = [...this.#fixes, ...(this.#mark ? [this.#mark] : [])].map(({ lon, lat }) => [lon, lat]);
    if (this.#fitted || places.length === 0) return;
    this.#fitted = true; // once: after that the view is the operator's
    this.#map.fit(places);
  }

  #move(fix) {
    this.#shown = fix;
    this.#map.draw("track-now", fix ? [fixFeature(fix)] : []);
  }
}

function countOf(points, count) {
  if (count === 0) return labels.track.none;
  const unbelieved = points.filter(({ implausible }) => implausible).length;
  const drawn = points.length < count ? labels.track.some(points.length, count) : labels.track.all(count);
  return labels.track.end(drawn, unbelieved);
}
