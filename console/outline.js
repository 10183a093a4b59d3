// The outline of a zone while it is drawn: polygons with their rings of corners, or a circle. A corner goes by its
// path, "polygon.ring.corner". Every change gives a new outline; nothing here touches a map. Longitudes go on over 180
// degrees while it is drawn, so that a ring over the antimeridian is one shape; they are put right when it is saved.
import { METRES_A_DEGREE, beside, circle, polygonsOf, unrolled } from "/console/features.js";
import { labels } from "/console/words.js";

const radians = (degrees) => (degrees * Math.PI) / 180;
const CLOSED = 3; // a ring of fewer corners encloses nothing

export const EMPTY = { polygons: [], centre: null, radius_m: null };

const wrapped = ([lon, lat]) => [lon >= -180 && lon <= 180 ? lon : Number((lon - 360 * Math.floor((lon + 180) / 360)).toFixed(7)), lat];

// Of the geometry that a zone has, whose rings are closed: the first corner comes again at the end.
export function outlineOf({ area, radius_m }) {
  if (area.type === "Point") return { ...EMPTY, centre: area.coordinates, radius_m };
  return { ...EMPTY, polygons: polygonsOf(area).map((rings) => rings.map((ring) => ring.slice(0, -1))) };
}

// As the API takes it; null while nothing is enclosed.
export function areaOf({ polygons, centre, radius_m }) {
  return shapeOf({ polygons: polygons.map((rings) => rings.map((ring) => ring.map(wrapped))), centre: centre && wrapped(centre), radius_m });
}

function shapeOf({ polygons, centre, radius_m }) {
  if (centre) return { area: { type: "Point", coordinates: centre }, radius_m };
  const closed = polygons.map((rings) => rings.filter((ring) => ring.length >= CLOSED).map((ring) => [...ring, ring[0]])).filter((rings) => rings.length);
  if (closed.length === 0) return null;
  if (closed.length === 1) return { area: { type: "Polygon", coordinates: closed[0] }, radius_m: null };
  return { area: { type: "MultiPolygon", coordinates: closed }, radius_m: null };
}

export const isPlain = ({ polygons }) => polygons.length <= 1 && (polygons[0]?.length ?? 0) <= 1;

export const cornersOf = ({ polygons }) => polygons.flat(2);

export function withCorner(outline, place) {
  const [ring = []] = outline.polygons[0] ?? [];
  return { ...EMPTY, polygons: [[[...ring, beside(place, ring.at(-1) ?? place)]]] };
}

export const withCorners = (corners) => ({ ...EMPTY, polygons: corners.length ? [[unrolled(corners, corners[0])]] : [] });

export const withCircle = (centre, radius_m) => ({ ...EMPTY, centre, radius_m });

// A corner dragged, the middle of an edge pulled out to a new one, a circle moved or made wider.
export function moved(outline, handle, place) {
  if (handle.kind === "centre") return { ...outline, centre: place };
  if (handle.kind === "rim") return { ...outline, radius_m: Math.max(1, Math.round(metresBetween(outline.centre, place))) };
  return changeRing(outline, handle.path, (ring, at) => ring.with(at, beside(place, ring[at])));
}

// The middle of the edge after a corner becomes a corner: the outline, and the new one's path.
export function split(outline, path, place) {
  const [polygon, ring, corner] = path.split(".").map(Number);
  return [changeRing(outline, path, (corners, at) => corners.toSpliced(at + 1, 0, beside(place, corners[at]))), [polygon, ring, corner + 1].join(".")];
}

export function without(outline, path) {
  return changeRing(outline, path, (ring, at) => (ring.length > CLOSED ? ring.toSpliced(at, 1) : ring));
}

function changeRing(outline, path, change) {
  const [polygon, ring, corner] = path.split(".").map(Number);
  const rings = outline.polygons[polygon].with(ring, change(outline.polygons[polygon][ring], corner));
  return { ...outline, polygons: outline.polygons.with(polygon, rings) };
}

export function metresBetween([lon, lat], [toLon, toLat]) {
  const half = Math.sin(radians(toLat - lat) / 2) ** 2 + Math.cos(radians(lat)) * Math.cos(radians(toLat)) * Math.sin(radians(toLon - lon) / 2) ** 2;
  return 2 * 6_371_008.8 * Math.asin(Math.sqrt(half));
}

// What a map draws of it: the shape, and what can be taken hold of.
export function drawn(outline) {
  const area = shapeOf(outline);
  const shape = outline.centre ? circle(outline.centre, outline.radius_m) : (area?.area ?? { type: "LineString", coordinates: cornersOf(outline) });
  const handles = outline.centre ? circleHandles(outline) : outline.polygons.flatMap((rings, polygon) => rings.flatMap((ring, at) => ringHandles(ring, `${polygon}.${at}`)));
  const empty = !outline.centre && cornersOf(outline).length < 2;
  return { shape: empty ? [] : [{ type: "Feature", properties: {}, geometry: shape }], handles };
}

const handle = (coordinates, kind, path) => ({ type: "Feature", properties: { kind, path }, geometry: { type: "Point", coordinates } });

function ringHandles(ring, path) {
  const middles = ring.length < CLOSED ? [] : ring.map(([lon, lat], at) => {
    const [nextLon, nextLat] = ring[(at + 1) % ring.length];
    return handle([(lon + nextLon) / 2, (lat + nextLat) / 2], "middle", `${path}.${at}`);
  });
  return [...middles, ...ring.map((corner, at) => handle(corner, "corner", `${path}.${at}`))];
}

function circleHandles({ centre, radius_m }) {
  const [lon, lat] = centre;
  return [handle(centre, "centre", ""), handle([lon + radius_m / (METRES_A_DEGREE * Math.cos(radians(lat))), lat], "rim", "")];
}

// Corners as text: "latitude, longitude", one a line, as people write places. Throws an Error that names the line.
export function cornersFrom(text) {
  return text.split("\n").map((line) => line.trim()).filter((line) => line).map((line, at) => {
    const [lat, lon, ...more] = line.split(/[,;\s]+/).filter((part) => part).map(Number);
    if (more.length || !Number.isFinite(lat) || !Number.isFinite(lon)) throw new Error(labels.zones.badCorner(at + 1, JSON.stringify(line)));
    return [lon, lat];
  });
}

export const textOf = (outline) => (outline.centre ? [outline.centre] : cornersOf(outline)).map(wrapped).map(([lon, lat]) => `${lat.toFixed(6)}, ${lon.toFixed(6)}`).join("\n");
