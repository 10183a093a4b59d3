// Lines of latitude and longitude, fit for what is in view: the map's ground where there is no network.

const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
const LINES_IN_VIEW = 8;
const BENDS = 16;
const EDGE = 85;

export function graticule({ west, south, east, north }) {
  const step = STEPS.find((size) => (east - west) / size >= LINES_IN_VIEW / 2) ?? STEPS.at(-1);
  const digits = Math.max(0, Math.ceil(-Math.log10(step)));
  const [left, right] = [Math.max(west, -180), Math.min(east, 180)];
  const [bottom, top] = [Math.max(south, -EDGE), Math.min(north, EDGE)];
  const features = [];
  for (const lon of multiples(left, right, step)) {
    const name = `${Math.abs(lon).toFixed(digits)}°${lon === 0 ? "" : lon < 0 ? "W" : "E"}`;
    features.push(line([[lon, bottom], [lon, top]], name));
  }
  for (const lat of multiples(bottom, top, step)) {
    const name = `${Math.abs(lat).toFixed(digits)}°${lat === 0 ? "" : lat < 0 ? "S" : "N"}`;
    const along = Array.from({ length: BENDS + 1 }, (_, at) => [left + ((right - left) * at) / BENDS, lat]);
    features.push(line(along, name));
  }
  return { type: "FeatureCollection", features };
}

function multiples(from, to, step) {
  const first = Math.ceil(from / step);
  const count = Math.floor(to / step) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, at) => (first + at) * step);
}

const line = (coordinates, name) => ({ type: "Feature", properties: { name }, geometry: { type: "LineString", coordinates } });
