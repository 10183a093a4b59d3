// What lies below everything else on a map: nothing but a colour, or what the installation names: a style, image tiles,
// or a PMTiles file (images, or vectors in the layers of Protomaps' basemap). Letters are drawn by the browser.
import { get } from "/console/api.js";
import { make } from "/console/elements.js";
import { ground } from "/console/layers.js";
import { isDark } from "/console/theme.js";
import { labels } from "/console/words.js";

const READER = "/console/vendor/pmtiles/pmtiles.js"; // not a module: it makes a global `pmtiles`
const AT_ONCE = { duration: 0, delay: 0 }; // colours do not fade: that would draw the map for nothing
const PATIENCE_MS = 10_000;
const MVT = 1; // a type of tile in PMTiles

// `{ style, layers, lack }`: what MapLibre starts with; `layers(dark)`, those whose colours change with the theme's;
// and what the map has to say of what is missing, in our own words.
export async function groundOf(library) {
  const { map_style_url: url } = await get("/console");
  if (!url) return plain();
  if (/\.pmtiles($|\?)/.test(url)) {
    try {
      return await archived(library, new URL(url, location.href).href);
    } catch (error) {
      console.warn("no ground", error); // guards and alerts need none
      return { ...plain(), lack: labels.map.noFile };
    }
  }
  if (!url.includes("{z}")) return named(url);
  return images({ type: "raster", tiles: [url], tileSize: 256 });
}

// Asked for before the map is: a map without a style never begins, and guards and alerts stand on it.
async function named(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    await answer.json();
    return { style: url, layers: none };
  } catch (error) {
    console.warn("no ground", error);
    return { ...plain(), lack: labels.map.noStyle };
  }
}

const plain = () => painted({}, (dark) => [ground(dark)]);

const none = () => [];
const styled = (sources, layers) => ({ version: 8, transition: AT_ONCE, sources, layers });
const painted = (sources, layers) => ({ style: styled(sources, layers(isDark())), layers });
const images = (tiles) => ({ style: styled({ tiles }, [{ id: "tiles", type: "raster", source: "tiles" }]), layers: none });

async function archived(library, url) {
  const { PMTiles, Protocol } = await reader();
  const archive = new PMTiles(url);
  const { tileType, minZoom, maxZoom, minLon, minLat, maxLon, maxLat } = await archive.getHeader();
  const protocol = new Protocol();
  protocol.add(archive);
  library.addProtocol("pmtiles", protocol.tile);
  const tiles = { tiles: [`pmtiles://${url}/{z}/{x}/{y}`], minzoom: minZoom, maxzoom: maxZoom, bounds: [minLon, minLat, maxLon, maxLat] };
  if (tileType !== MVT) return images({ type: "raster", tileSize: 256, ...tiles });
  return painted({ tiles: { type: "vector", ...tiles } }, vectors);
}

let loading = null;

function reader() {
  loading ??= new Promise((resolve, reject) => {
    const script = make("script", { src: READER });
    script.addEventListener("load", () => resolve(globalThis.pmtiles));
    script.addEventListener("error", () => reject(new Error("the reader of PMTiles files is missing: run `make console`")));
    document.head.append(script);
  });
  return loading;
}

const COLOURS = {
  light: { earth: "#f4f2ec", green: "#dcead5", water: "#a9cfe8", building: "#ddd8cf", road: "#ffffff", edge: "#a8a196", text: "#4a5560", halo: "#ffffff" },
  dark: { earth: "#171d24", green: "#18251f", water: "#12324a", building: "#232b34", road: "#3a4550", edge: "#4f5b67", text: "#a9b4bf", halo: "#11161c" },
};
const WIDTH = ["interpolate", ["exponential", 1.6], ["zoom"]];
const wide = ["match", ["get", "kind"], ["highway", "major_road"], 3, 1];

// A calm map that guards and alerts stand out from: land, water, buildings, roads, borders, names of places.
function vectors(dark) {
  const colour = COLOURS[dark ? "dark" : "light"];
  const from = (id, type, paint, more = {}) => ({ id: `ground-${id}`, type, source: "tiles", "source-layer": more.of ?? id, paint, ...without(more) });
  const polygons = { filter: ["==", ["geometry-type"], "Polygon"] };
  const lines = { filter: ["==", ["geometry-type"], "LineString"] };
  return [
    ground(dark),
    from("earth", "fill", { "fill-color": colour.earth }, polygons),
    from("landuse", "fill", { "fill-color": colour.green, "fill-opacity": 0.6 }, polygons),
    from("water", "fill", { "fill-color": colour.water }, polygons),
    from("rivers", "line", { "line-color": colour.water, "line-width": 1 }, { of: "water", ...lines }),
    from("buildings", "fill", { "fill-color": colour.building }, { minzoom: 14, ...polygons }),
    from("roads", "line", { "line-color": colour.road, "line-width": [...WIDTH, 6, ["*", wide, 0.4], 18, ["*", wide, 6]] }, lines),
    from("boundaries", "line", { "line-color": colour.edge, "line-width": 1, "line-dasharray": [3, 2] }, lines),
    from("places", "symbol", { "text-color": colour.text, "text-halo-color": colour.halo, "text-halo-width": 1.2 },
      { layout: { "text-field": ["coalesce", ["get", "name:en"], ["get", "name"], ""], "text-font": ["sans-serif"], "text-size": 12 } }),
  ];
}

const without = ({ of, ...more }) => more;
