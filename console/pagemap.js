// A map of a page: the ground, lines of latitude and longitude, and what the page puts on them. Without the map's
// library, or without WebGL, it says so, and the page goes on without it.
import { list, offers } from "/console/api.js";
import { make } from "/console/elements.js";
import { collection, siteFeature, zoneFeature } from "/console/features.js";
import { graticule } from "/console/graticule.js";
import { groundOf } from "/console/ground.js";
import { isDark, theme } from "/console/theme.js";
import { labels } from "/console/words.js";

const LIBRARY = "/console/vendor/maplibre-gl/maplibre-gl";
export const CLOSE_ZOOM = 15;

export class PageMap {
  map = null;
  library = null;
  #ground = null;
  #layers;
  #sources;
  #left = false;
  #repaint = () => this.paint();

  // `sources`: names of what is drawn, with what MapLibre is to know of each besides; `layers(dark)`: how it looks.
  constructor({ sources, layers }) {
    this.#sources = { graticule: {}, ...sources };
    this.#layers = layers;
    this.canvas = make("div", { class: "canvas" });
  }

  // Where the canvas stands in the page already: the map takes its size from it. Whether there is a map now.
  async open() {
    this.#left = false;
    try {
      this.library = await import(`${LIBRARY}.mjs`);
      loadStyle();
      await this.#make();
    } catch (error) {
      this.canvas.replaceChildren(make("p", { class: "quiet" }, labels.map.missing(error.message)));
      return false;
    }
    return !this.#left;
  }

  // A browser has few maps to give: a page that is left gives its own back.
  close() {
    this.#left = true;
    theme.removeEventListener("changed", this.#repaint);
    this.map?.remove();
    this.map = null;
  }

  async #make() {
    this.#ground = await groundOf(this.library);
    if (this.#left) return;
    const map = new this.library.Map({
      container: this.canvas, style: this.#ground.style, center: [0, 20], zoom: 1, attributionControl: this.#ground.lack ? { compact: false, customAttribution: this.#ground.lack } : { compact: true }, fadeDuration: 0, dragRotate: false,
    });
    this.map = map;
    maps.set(this.canvas, map);
    map.addControl(new this.library.NavigationControl({ showCompass: false }));
    await map.once("style.load"); // not all of its tiles: one that never comes must not hold up guards and alerts
    if (this.#left) return;
    for (const [id, options] of Object.entries(this.#sources)) map.addSource(id, { type: "geojson", data: collection([]), ...options });
    map.addImage("heading", arrow(), { sdf: true });
    for (const layer of this.#layers(isDark())) map.addLayer(layer);
    map.on("moveend", () => this.#drawGraticule());
    theme.addEventListener("changed", this.#repaint);
    this.#drawGraticule();
  }

  draw(source, features) {
    this.map?.getSource(source)?.setData(collection(features));
  }

  paint() {
    const dark = isDark();
    for (const { id, paint } of [...this.#ground.layers(dark), ...this.#layers(dark)]) {
      for (const [name, value] of Object.entries(paint)) this.map.setPaintProperty(id, name, value);
    }
  }

  // The view is moved to these places, [longitude, latitude] each; without any it stays.
  fit(places) {
    if (this.map === null || places.length === 0) return;
    const bounds = new this.library.LngLatBounds();
    for (const place of places) bounds.extend(place);
    this.map.fitBounds(bounds, { padding: 60, maxZoom: CLOSE_ZOOM, animate: false });
  }

  // Sites and zones as the register has them. Raises `ApiError`: the map stands as it was then.
  async drawPlaces() {
    const sites = await list("/sites");
    this.draw("sites", sites.filter((site) => site.lat !== null).map(siteFeature));
    if (!(await offers("GET", "/zones"))) return;
    const zones = await list("/zones");
    this.draw("zones", zones.filter((zone) => zone.enabled !== false && zone.area).map(zoneFeature));
  }

  #drawGraticule() {
    const bounds = this.map.getBounds();
    const view = { west: bounds.getWest(), south: bounds.getSouth(), east: bounds.getEast(), north: bounds.getNorth() };
    this.map.getSource("graticule").setData(graticule(view));
  }
}

// By its element: whoever drives the page from outside finds the map in it.
const maps = new WeakMap();
export const mapOf = (canvas) => maps.get(canvas);

let styled = false;

function loadStyle() {
  if (!styled) document.head.prepend(make("link", { rel: "stylesheet", href: `${LIBRARY}.css` }));
  styled = true;
}

const ARROW_PIXELS = 40;

// A head that points north, before the guard's dot.
function arrow() {
  const canvas = new OffscreenCanvas(ARROW_PIXELS, ARROW_PIXELS);
  const brush = canvas.getContext("2d");
  brush.beginPath();
  brush.moveTo(20, 1);
  brush.lineTo(27, 12);
  brush.lineTo(13, 12);
  brush.fill();
  return brush.getImageData(0, 0, ARROW_PIXELS, ARROW_PIXELS);
}
