// Guards as a list, for those who cannot or would not use the map.
import { age } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { live } from "/console/live.js";
import { byName } from "/console/names.js";
import { store } from "/console/store.js";
import { labels } from "/console/words.js";

const text = labels.guards;
const SHOWN = 200;
const linkTo = (guardId) => make("a", { href: `#/guards/${encodeURIComponent(guardId)}` }, guardId);
export const number = (value, unit, digits = 0) => (value === null || value === undefined ? "-" : `${value.toFixed(digits)} ${unit}`);

export function guardsPage() {
  const body = make("tbody");
  const rest = make("p", { class: "quiet" });
  const wanted = make("input", { type: "search", id: "guard-search", autocomplete: "off" });
  const heads = text.heads.map((name) => make("th", { scope: "col" }, name));
  const element = make("article", {},
    make("h1", { tabindex: "-1" }, text.title),
    make("label", { class: "narrow" }, labels.common.find, wanted),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": text.list }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body), rest));
  const render = () => {
    const found = [...store.guards.values()].filter(({ guard_id }) => guard_id.toLowerCase().includes(wanted.value.trim().toLowerCase()));
    found.sort((a, b) => b.geofence_violation - a.geofence_violation || byName(a.guard_id, b.guard_id));
    fill(body, found.slice(0, SHOWN));
    write(rest, found.length > SHOWN ? labels.common.more(found.length - SHOWN) : found.length === 0 ? text.none : "");
  };
  wanted.addEventListener("input", render);
  return live(text.title, element, ["guards"], render);
}

// Rows are kept by guard: a link that has the keyboard keeps it.
function fill(body, guards) {
  const rows = new Map([...body.rows].map((row) => [row.dataset.guard, row]));
  const placed = guards.map((guard) => {
    const row = rows.get(guard.guard_id) ?? make("tr", { "data-guard": guard.guard_id }, make("td", {}, linkTo(guard.guard_id)), ...Array.from({ length: 4 }, () => make("td")));
    const [, heard, zones, speed, accuracy] = row.cells;
    write(heard, `${age(guard.recorded_at)} ago`);
    write(zones, zonesOf(guard));
    write(speed, number(guard.speed, "m/s", 1));
    write(accuracy, number(guard.accuracy, "m"));
    return row;
  });
  if (placed.length !== body.rows.length || placed.some((row, at) => body.rows[at] !== row)) body.replaceChildren(...placed);
}

export const zonesOf = (guard) => (guard.geofence_violation ? text.violation : guard.in_geofence ? text.inside : "-");
