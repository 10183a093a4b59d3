// From what the feed and the API say to what the map draws (GeoJSON).
import { typeWord } from "/console/words.js";

// Metres that a pixel covers at the equator at zoom 0, with the map's tiles of 512 pixels.
const METRES_A_PIXEL = 78_271.517;

export const GAP_MS = 120_000; // a pause between fixes that a drawing shows, as the server's thinning does

export const collection = (features) => ({ type: "FeatureCollection", features });

const point = (lon, lat) => ({ type: "Point", coordinates: [lon, lat] });

// Ids are numbers on the map: `numberOf` gives each name the same one every time.
export class Numbers {
  #numbers = new Map();

  of(name) {
    if (!this.#numbers.has(name)) this.#numbers.set(name, this.#numbers.size + 1);
    return this.#numbers.get(name);
  }
}

// Its accuracy in pixels at zoom 0, where it is: each zoom doubles it.
const reachOf = ({ accuracy, lat }) => (accuracy ?? 0) / (METRES_A_PIXEL * Math.cos((lat * Math.PI) / 180));

export function guardFeature(position, id) {
  const properties = {
    guard_id: position.guard_id,
    at: Date.parse(position.recorded_at) / 1000,
    violation: position.geofence_violation ? 1 : 0,
    reach: reachOf(position),
  };
  if (position.heading !== null && position.heading !== undefined) properties.heading = position.heading;
  return { type: "Feature", id, properties, geometry: point(position.lon, position.lat) };
}

// An alert is where it says, else where its guard is; null when nobody knows.
export function alertFeature(alert, guards) {
  const guard = guards.get(alert.source_id) ?? guards.get(alert.carried_by ?? "");
  const place = alert.lat !== null && alert.lat !== undefined ? alert : guard;
  if (!place) return null;
  const properties = { id: alert.id, severity: alert.severity, open: alert.status === "NEW" ? 1 : 0, name: `${typeWord(alert.alert_type)} ${alert.source_id}` };
  return { type: "Feature", properties, geometry: point(place.lon, place.lat) };
}

// A track as lines and points. Fixes that were not believed are shown, and on no line.
export function trackFeatures(points) {
  const believed = points.filter(({ implausible }) => !implausible);
  const kindOf = (fix) => (fix.implausible ? "implausible" : "fix");
  const dots = points.map((fix) => feature(point(fix.lon, fix.lat), { kind: kindOf(fix), violation: fix.geofence_violation ? 1 : 0 }));
  return [...waysOf(believed), ...dots];
}

const feature = (geometry, properties) => ({ type: "Feature", properties, geometry });

function waysOf(fixes) {
  const ways = [];
  for (let at = 1; at < fixes.length; at += 1) {
    const [before, fix] = [fixes[at - 1], fixes[at]];
    const kind = Date.parse(fix.recorded_at) - Date.parse(before.recorded_at) > GAP_MS ? "gap" : "way";
    const violation = before.geofence_violation ? 1 : 0;
    const last = ways.at(-1);
    if (last?.properties.kind === kind && last.properties.violation === violation) last.geometry.coordinates.push([fix.lon, fix.lat]);
    else ways.push(feature({ type: "LineString", coordinates: [[before.lon, before.lat], [fix.lon, fix.lat]] }, { kind, violation }));
  }
  return ways;
}

export const fixFeature = (fix) => feature(point(fix.lon, fix.lat), { violation: fix.geofence_violation ? 1 : 0, reach: reachOf(fix) });

export const markFeature = ({ lon, lat }, name) => feature(point(lon, lat), { name });

export function siteFeature(site) {
  return { type: "Feature", properties: { name: site.name }, geometry: point(site.lon, site.lat) };
}

// The same place on that turn of the globe on which it is nearest to another.
export const beside = ([lon, lat], [otherLon]) => [lon + 360 * Math.round((otherLon - lon) / 360), lat];

// Each corner on the turn of the one before: a ring over the antimeridian is drawn over it, not round the globe.
export function unrolled(ring, start) {
  const corners = [];
  for (const corner of ring) corners.push(beside(corner, corners.at(-1) ?? start));
  return corners;
}

// The rings of a polygon or of several, all on the turn of the first corner.
export function polygonsOf(area) {
  const polygons = area.type === "Polygon" ? [area.coordinates] : area.coordinates;
  const start = polygons[0][0][0];
  return polygons.map((rings) => rings.map((ring) => unrolled(ring, start)));
}

export function zoneFeature({ area, name, kind, radius_m }) {
  if (area.type === "Point") return feature(circle(area.coordinates, radius_m ?? 0), { name, kind });
  return feature({ type: "MultiPolygon", coordinates: polygonsOf(area) }, { name, kind });
}

const CORNERS = 64;
export const METRES_A_DEGREE = 111_195;

export function circle([lon, lat], radius_m) {
  const wide = radius_m / (METRES_A_DEGREE * Math.cos((lat * Math.PI) / 180));
  const high = radius_m / METRES_A_DEGREE;
  const ring = Array.from({ length: CORNERS + 1 }, (_, at) => {
    const angle = (2 * Math.PI * (at % CORNERS)) / CORNERS;
    return [lon + wide * Math.cos(angle), lat + high * Math.sin(angle)];
  });
  return { type: "Polygon", coordinates: [ring] };
}
