// The live map: guards as they move, open alerts, sites and zones.
import { age, now } from "/console/clock.js";
import { atNextFrame, make, write } from "/console/elements.js";
import { Numbers, alertFeature, guardFeature } from "/console/features.js";
import { layers } from "/console/layers.js";
import { CLOSE_ZOOM, PageMap } from "/console/pagemap.js";
import { session } from "/console/session.js";
import { store } from "/console/store.js";
import { labels } from "/console/words.js";

const AGES_EVERY_MS = 15_000;
const PLACES_EVERY_MS = 60_000;
const GUARDS = { cluster: true, clusterRadius: 45, clusterMaxZoom: 13, clusterProperties: { violations: ["+", ["get", "violation"]] } };

export class LiveMap {
  #page = new PageMap({ sources: { zones: {}, sites: {}, alerts: {}, guards: GUARDS }, layers: (dark) => layers(dark, now() / 1000) });
  #numbers = new Numbers();
  #drawn = new Set(); // ids of guards that the map has
  #moved = new Set(); // ids of guards that it has not been told of
  #sending = false;
  #fitted = false;
  #followed = null;
  #tenantId = session.tenantId;

  constructor() {
    this.places = make("p", { class: "quiet" });
    this.card = make("p", { class: "card", hidden: true });
    this.told = make("p", { class: "quiet", id: "guards" }, labels.map.none);
    this.element = make("section", { class: "map", "aria-labelledby": "map-title" }, make("h2", { id: "map-title" }, labels.map.title), this.told, this.#page.canvas, this.places, this.card);
  }

  // Where the element stands in the page already: the map takes its size from it.
  async start() {
    this.#tellCount();
    store.addEventListener("guards", () => this.#tellCount());
    session.addEventListener("opened", () => this.#begin());
    if (await this.#page.open()) this.#listen();
  }

  // Of another tenant nothing stays.
  #begin() {
    if (session.tenantId === this.#tenantId) return;
    this.#tenantId = session.tenantId;
    this.card.hidden = true;
    this.#fitted = false;
    for (const source of ["sites", "zones"]) this.#page.draw(source, []);
    if (this.#map !== null) this.#refreshPlaces();
  }

  get #map() {
    return this.#page.map;
  }

  #listen() {
    const send = atNextFrame(() => this.#send());
    store.addEventListener("guards", ({ detail }) => {
      for (const id of detail ?? store.guards.keys()) this.#moved.add(id);
      if (detail === null) this.#forget();
      send();
    });
    store.addEventListener("alerts", atNextFrame(() => this.#drawAlerts()));
    this.#map.on("click", (event) => this.#click(event));
    setInterval(() => this.#page.paint(), AGES_EVERY_MS);
    setInterval(() => this.#refreshPlaces(), PLACES_EVERY_MS);
    this.#resend = send;
    for (const id of store.guards.keys()) this.#moved.add(id);
    this.#drawAlerts();
    this.#refreshPlaces();
    send();
  }

  #resend = () => {};

  // Only what moved goes to the map's worker, and the next only when it has drawn this: a slow computer sees fewer
  // steps, never a growing queue.
  async #send() {
    if (this.#sending || this.#moved.size === 0) return;
    this.#sending = true;
    const moved = this.#moved;
    this.#moved = new Set();
    const diff = { remove: [], add: [] };
    for (const id of moved) {
      const position = store.guards.get(id);
      if (position) {
        diff.add.push(guardFeature(position, this.#numbers.of(id))); // takes the place of the one of that id
        this.#drawn.add(id);
      } else if (this.#drawn.delete(id)) diff.remove.push(this.#numbers.of(id));
    }
    try {
      await this.#map.getSource("guards").updateData(diff);
    } finally {
      this.#sending = false;
    }
    this.#fit();
    if (this.#moved.size) this.#resend();
  }

  // After a snapshot: whoever is not in it any more goes.
  #forget() {
    for (const id of this.#drawn) this.#moved.add(id);
  }

  #drawAlerts() {
    const features = [...store.alerts.values()].map((alert) => alertFeature(alert, store.guards)).filter((feature) => feature !== null);
    this.#page.draw("alerts", features);
  }

  // What the register says: it may be away, and then the map stands as it was.
  async #refreshPlaces() {
    try {
      await this.#page.drawPlaces();
      write(this.places, "");
    } catch (error) {
      write(this.places, labels.map.notUpToDate(error.message));
    }
  }

  // Once, to where guards are: after that the view is the operator's.
  #fit() {
    if (this.#fitted || store.guards.size === 0) return;
    this.#fitted = true;
    this.#page.fit([...store.guards.values()].map(({ lon, lat }) => [lon, lat]));
  }

  // The alert that the keyboard is on comes into view, where it is not.
  follow(alert) {
    if (this.#map === null || alert === null || alert.id === this.#followed) return;
    this.#followed = alert.id;
    const feature = alertFeature(alert, store.guards);
    const place = feature?.geometry.coordinates;
    if (place && !this.#map.getBounds().contains(place)) this.#map.jumpTo({ center: place, zoom: Math.max(this.#map.getZoom(), CLOSE_ZOOM - 3) });
  }

  async #click({ point }) {
    const [found] = this.#map.queryRenderedFeatures(point, { layers: ["alerts", "guards", "clusters"] });
    this.card.hidden = true;
    if (!found) return;
    if (found.layer.id === "alerts") location.hash = `#/alerts/${found.properties.id}`;
    else if (found.layer.id === "guards") this.#showGuard(store.guards.get(found.properties.guard_id));
    else {
      const zoom = await this.#map.getSource("guards").getClusterExpansionZoom(found.properties.cluster_id);
      this.#map.easeTo({ center: found.geometry.coordinates, zoom });
    }
  }

  #showGuard(position) {
    if (!position) return;
    const parts = [labels.map.lastPosition(age(position.recorded_at))];
    if (position.accuracy !== null) parts.push(labels.common.accurate(Math.round(position.accuracy)));
    if (position.speed !== null) parts.push(`${position.speed.toFixed(1)} m/s`);
    if (position.geofence_violation) parts.push(labels.guards.violation.toLowerCase());
    this.card.replaceChildren(make("a", { href: `#/guards/${encodeURIComponent(position.guard_id)}` }, position.guard_id), ` ${parts.join(", ")}`);
    this.card.hidden = false;
  }

  #tellCount() {
    const { size } = store.guards;
    write(this.told, size === 0 ? labels.map.none : labels.map.count(size));
  }
}
