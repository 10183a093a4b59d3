// How the map looks, in two sets of colours. Colour never says something alone: shapes, words and the queue say it too.

const COLOURS = {
  light: {
    ground: "#eef1f4", line: "#c3ccd6", text: "#2b3540", halo: "#ffffff", guard: "#0b62b0", old: "#6b7580", violation: "#b00020",
    zone: "#2f7d4f", forbidden: "#b00020", site: "#5b3fa0", draft: "#0b57a4",
  },
  dark: {
    ground: "#11161c", line: "#2c3640", text: "#d6dde4", halo: "#11161c", guard: "#5fb0ff", old: "#8b96a1", violation: "#ff6b7d",
    zone: "#63c48b", forbidden: "#ff6b7d", site: "#b79bff", draft: "#7cbcff",
  },
};
export const SEVERITY = { CRITICAL: "#d1002a", HIGH: "#d9480f", MEDIUM: "#a67c00", LOW: "#1971c2" };
export const OLD_AFTER_S = 300;
const FONT = ["sans-serif"];
const DEEPEST = 22;
const SINGLE = ["!", ["has", "point_count"]];

export const ground = (dark) => ({ id: "ground", type: "background", paint: { "background-color": COLOURS[dark ? "dark" : "light"].ground } });

const coloursOf = (dark) => COLOURS[dark ? "dark" : "light"];
const textOf = (colour) => ({ "text-color": colour.text, "text-halo-color": colour.halo, "text-halo-width": 1.5 });
const words = (field, more = {}) => ({ "text-field": field, "text-font": FONT, "text-size": 12, ...more });

// A radius in metres, given as the pixels that it has at zoom 0 (`reach`).
const REACH = ["interpolate", ["exponential", 2], ["zoom"], 0, ["get", "reach"], DEEPEST, ["*", ["get", "reach"], 2 ** DEEPEST]];

// What every map has: the lines of latitude and longitude, zones, sites.
export function placeLayers(dark) {
  const colour = coloursOf(dark);
  const text = textOf(colour);
  const zone = ["match", ["get", "kind"], "forbidden", colour.forbidden, colour.zone];
  return [
    { id: "graticule", type: "line", source: "graticule", paint: { "line-color": colour.line, "line-width": 1 } },
    { id: "graticule-names", type: "symbol", source: "graticule", layout: words(["get", "name"], { "symbol-placement": "line", "text-size": 10 }), paint: text },
    { id: "zones", type: "fill", source: "zones", paint: { "fill-color": zone, "fill-opacity": 0.15 } },
    { id: "zone-edges", type: "line", source: "zones", paint: { "line-color": zone, "line-width": 2 } },
    { id: "zone-names", type: "symbol", source: "zones", minzoom: 11, layout: words(["get", "name"]), paint: text },
    { id: "sites", type: "circle", source: "sites", paint: { "circle-radius": 5, "circle-color": colour.halo, "circle-stroke-color": colour.site, "circle-stroke-width": 3 } },
    { id: "site-names", type: "symbol", source: "sites", layout: words(["get", "name"], { "text-offset": [0, 1.3] }), paint: text },
  ];
}

// A zone that is drawn: its shape, and what can be taken hold of: corners, middles of edges, a circle's centre and rim.
export function draftLayers(dark) {
  const colour = coloursOf(dark);
  const middle = ["==", ["get", "kind"], "middle"];
  return [
    ...placeLayers(dark),
    { id: "draft", type: "fill", source: "draft", paint: { "fill-color": colour.draft, "fill-opacity": 0.2 } },
    { id: "draft-edges", type: "line", source: "draft", paint: { "line-color": colour.draft, "line-width": 3 } },
    { id: "handles", type: "circle", source: "handles", paint: { "circle-radius": ["case", middle, 4, 7], "circle-color": ["case", middle, colour.draft, colour.halo], "circle-stroke-color": colour.draft, "circle-stroke-width": ["case", middle, 0, 3] } },
  ];
}

// A guard's track: unbroken where it was heard, dashed over pauses; hollow what was not believed; and where the slider is.
export function trackLayers(dark) {
  const colour = coloursOf(dark);
  const text = textOf(colour);
  const line = ["case", [">", ["get", "violation"], 0], colour.violation, colour.guard];
  const of = (kind) => ["==", ["get", "kind"], kind];
  return [
    ...placeLayers(dark),
    { id: "track", type: "line", source: "track", filter: of("way"), layout: { "line-join": "round", "line-cap": "round" }, paint: { "line-color": line, "line-width": 3 } },
    { id: "track-gaps", type: "line", source: "track", filter: of("gap"), paint: { "line-color": colour.old, "line-width": 2, "line-dasharray": [2, 2] } },
    { id: "track-fixes", type: "circle", source: "track", filter: of("fix"), minzoom: 14, paint: { "circle-radius": 3, "circle-color": line } },
    { id: "track-implausible", type: "circle", source: "track", filter: of("implausible"), paint: { "circle-radius": 4, "circle-color": colour.halo, "circle-opacity": 0, "circle-stroke-color": colour.old, "circle-stroke-width": 1.5 } },
    { id: "track-now-reach", type: "circle", source: "track-now", paint: { "circle-radius": REACH, "circle-color": line, "circle-opacity": 0.15 } },
    { id: "track-now", type: "circle", source: "track-now", paint: { "circle-radius": 9, "circle-color": line, "circle-stroke-color": colour.text, "circle-stroke-width": 3 } },
    { id: "track-marks", type: "circle", source: "track-marks", paint: { "circle-radius": 11, "circle-color": colour.violation, "circle-opacity": 0.25, "circle-stroke-color": colour.violation, "circle-stroke-width": 3 } },
    { id: "track-mark-names", type: "symbol", source: "track-marks", layout: words(["get", "name"], { "text-offset": [0, -1.8] }), paint: text },
  ];
}

// `now_s`: guards not heard from for OLD_AFTER_S before it are drawn pale.
export function layers(dark, now_s) {
  const colour = coloursOf(dark);
  const text = textOf(colour);
  const guard = ["case", [">", ["get", "violation"], 0], colour.violation, ["<", ["get", "at"], now_s - OLD_AFTER_S], colour.old, colour.guard];
  const severity = ["match", ["get", "severity"], ...Object.entries(SEVERITY).flat(), SEVERITY.LOW];
  return [
    ...placeLayers(dark),
    { id: "accuracy", type: "circle", source: "guards", filter: SINGLE, minzoom: 12, paint: { "circle-radius": REACH, "circle-color": guard, "circle-opacity": 0.12, "circle-stroke-color": guard, "circle-stroke-width": 1, "circle-stroke-opacity": 0.5 } },
    { id: "clusters", type: "circle", source: "guards", filter: ["has", "point_count"], paint: { "circle-color": ["case", [">", ["get", "violations"], 0], colour.violation, colour.guard], "circle-radius": ["step", ["get", "point_count"], 14, 10, 18, 100, 24, 1000, 32], "circle-opacity": 0.85 } },
    { id: "cluster-counts", type: "symbol", source: "guards", filter: ["has", "point_count"], layout: words(["get", "point_count_abbreviated"], { "text-allow-overlap": true }), paint: { "text-color": dark ? "#000000" : "#ffffff" } },
    { id: "guards", type: "circle", source: "guards", filter: SINGLE, paint: { "circle-radius": 6, "circle-color": guard, "circle-stroke-color": colour.halo, "circle-stroke-width": 1.5 } },
    { id: "headings", type: "symbol", source: "guards", filter: ["all", SINGLE, ["has", "heading"]], layout: { "icon-image": "heading", "icon-rotate": ["get", "heading"], "icon-rotation-alignment": "map", "icon-allow-overlap": true, "icon-ignore-placement": true }, paint: { "icon-color": guard } },
    { id: "guard-names", type: "symbol", source: "guards", filter: SINGLE, minzoom: 13, layout: words(["get", "guard_id"], { "text-offset": [0, 1.4] }), paint: text },
    { id: "alerts", type: "circle", source: "alerts", paint: { "circle-radius": ["case", [">", ["get", "open"], 0], 13, 9], "circle-color": severity, "circle-opacity": 0.35, "circle-stroke-color": severity, "circle-stroke-width": 3 } },
    { id: "alert-names", type: "symbol", source: "alerts", layout: words(["get", "name"], { "text-offset": [0, -1.8] }), paint: text },
  ];
}
