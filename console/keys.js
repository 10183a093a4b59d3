// The keyboard. Single letters mean something only while the keyboard is in the queue or on an alert: whoever dictates
// or types elsewhere sets nothing off.
import { ACTIONS } from "/console/actions.js";
import { make } from "/console/elements.js";
import { labels } from "/console/words.js";

const MOVES = { ArrowDown: "down", ArrowUp: "up", Home: "first", End: "last", j: "down", k: "up" };

// What a key means there: {move}, {open}, {help}, {action}; null when it means nothing.
export function keyOf(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return null;
  if (MOVES[event.key]) return { move: MOVES[event.key] };
  if (event.key === "Enter") return { open: true };
  if (event.key === "?") return { help: true };
  const action = ACTIONS.find(({ key }) => key === event.key.toLowerCase());
  return action ? { action } : null;
}

const LISTED = [
  [labels.keys.down, labels.keys.next],
  [labels.keys.up, labels.keys.previous],
  [labels.keys.ends, labels.keys.firstLast],
  ["Enter", labels.keys.open],
  ...ACTIONS.map(({ key, word }) => [key, word]),
  ["?", labels.keys.help],
];

export function startKeys(opener) {
  const rows = LISTED.map(([key, word]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, word)));
  const dialog = make("dialog", { "aria-labelledby": "keys-title" },
    make("h2", { id: "keys-title" }, labels.keys.title),
    make("table", {}, make("tbody", {}, ...rows)),
    make("p", { class: "buttons" }, make("button", { type: "button", class: "primary", onclick: () => dialog.close() }, labels.keys.close)));
  document.body.append(dialog);
  opener.addEventListener("click", () => dialog.showModal());
}
