// The keyboard. Single letters mean something only while the keyboard is in the queue or on an alert: whoever dictates
// or types elsewhere sets nothing off.
import { ACTIONS } from "/console/actions.js";
import { make } from "/console/elements.js";

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
  ["Down, j", "Next alert"],
  ["Up, k", "Previous alert"],
  ["Home, End", "First and last alert"],
  ["Enter", "Open the alert"],
  ...ACTIONS.map(({ key, word }) => [key, word]),
  ["?", "Show this list"],
];

export function startKeys(opener) {
  const rows = LISTED.map(([key, word]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, word)));
  const dialog = make("dialog", { "aria-labelledby": "keys-title" },
    make("h2", { id: "keys-title" }, "Keys in the queue"),
    make("table", {}, make("tbody", {}, ...rows)),
    make("p", { class: "buttons" }, make("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")));
  document.body.append(dialog);
  opener.addEventListener("click", () => dialog.showModal());
}
