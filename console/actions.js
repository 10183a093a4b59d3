// What a person can do with an alert: one list for the mouse, the keyboard and both pages.
import { post } from "/console/api.js";
import { now } from "/console/clock.js";
import { ask } from "/console/dialogs.js";
import { busy, make, write } from "/console/elements.js";
import { session } from "/console/session.js";
import { isOpen, isShelved, store } from "/console/store.js";
import { labels, title, word } from "/console/words.js";

const REASONS = ["accident", "test", "equipment", "animal", "weather", "malice", "other"];
const MINUTES = [15, 30, 60, 240, 480];
const NEVER_SHELVED = new Set(["PANIC", "SOS", "DURESS", "MEDICAL", "FIRE", "MAN_DOWN", "CHECK_IN_MISSED", "UNREADABLE_ALERT"]);
const SUGGESTED = 200;
const mayAct = () => session.role !== "viewer";

const text = labels.actions;
const NOTE = { name: "note", label: text.note, kind: "textarea" };

// `path` is the operation's last word; an action without `fields` is done at once.
export const ACTIONS = [
  { key: "a", word: text.acknowledge, path: "acknowledge", fits: (alert) => alert.status === "NEW" },
  { key: "w", word: text.start, path: "start", fits: (alert) => alert.status === "NEW" || alert.status === "ACKNOWLEDGED" },
  { key: "s", word: text.assign, path: "assign", fits: isOpen, fields: () => [{ name: "to", label: text.assignTo, suggest: people }, NOTE] },
  { key: "n", word: text.addNote, path: "note", fits: () => true, fields: () => [{ ...NOTE, required: true }] },
  { key: "r", word: text.resolve, path: "resolve", fits: isOpen, fields: () => [NOTE] },
  {
    key: "f", word: text.falseAlarm, path: "false-alarm", fits: isOpen,
    fields: () => [{ name: "reason", label: text.reason, kind: "select", choices: REASONS.map((reason) => [reason, word(reason)]) }, NOTE],
  },
  {
    key: "h", word: text.shelve, path: "shelve", fits: (alert) => isOpen(alert) && !isShelved(alert) && !NEVER_SHELVED.has(alert.alert_type),
    fields: () => [
      { name: "until", label: text.shelveFor, kind: "select", choices: MINUTES.map((minutes) => [minutes, minutes < 60 ? `${minutes} min` : `${minutes / 60} h`]) },
      { name: "reason", label: text.shelveReason, required: true },
    ],
  },
  { key: "u", word: text.unshelve, path: "unshelve", fits: (alert) => isOpen(alert) && isShelved(alert) },
];

export const actionsFor = (alert) => (mayAct() ? ACTIONS.filter((action) => action.fits(alert)) : []);

const people = () => [session.login, ...[...store.guards.keys()].slice(0, SUGGESTED)];

const nameOf = title;

export function button(action, alert) {
  return make("button", {
    type: "button",
    "aria-label": `${action.word}: ${nameOf(alert)}`,
    "data-action": action.path,
    onclick: ({ currentTarget }) => perform(action, alert, currentTarget),
  }, action.word);
}

// All that can be done with it, for the mouse: the row has room for the first alone.
export function moreButton(alert) {
  return make("button", { type: "button", class: "plain", "aria-label": `${text.more}: ${nameOf(alert)}`, "aria-haspopup": "dialog", onclick: () => choose(store.alerts.get(alert.id) ?? alert) }, text.more);
}

async function choose(alert) {
  let chosen = null;
  const pick = (action) => make("button", { type: "button", onclick: () => { chosen = action; dialog.close(); } }, action.word);
  const dialog = make("dialog", { "aria-labelledby": "more-title" },
    make("h2", { id: "more-title" }, nameOf(alert)),
    make("p", { class: "buttons" }, ...actionsFor(alert).map(pick)),
    make("p", { class: "buttons" }, make("button", { type: "button", onclick: () => dialog.close() }, text.cancel)));
  await ask(dialog);
  if (chosen) await perform(chosen, alert);
}

// What came of it is said aloud and stands on the page; the alert itself changes when the feed says so.
export async function perform(action, alert, pressed = null) {
  const body = action.fields ? await askFor(action, alert) : {};
  if (body === null) return;
  await busy(pressed, async () => {
    try {
      await post(`/alerts/${encodeURIComponent(alert.id)}/${action.path}`, body);
      say(text.done(action.word, nameOf(alert)));
    } catch (error) {
      say(text.notDone(action.word, nameOf(alert), error.message), { failed: true });
    }
  });
}

export function say(said, { failed = false } = {}) {
  write(document.getElementById("said"), failed ? "" : said);
  write(document.getElementById("failed"), failed ? said : "");
}

// What was filled in, null when it was called off.
async function askFor(action, alert) {
  let body = null;
  const inputs = action.fields().map((field) => [field, inputOf(field)]);
  const form = make("form", { method: "dialog" },
    make("h2", { id: "ask-title" }, `${action.word}: ${nameOf(alert)}`),
    ...inputs.flatMap(([field, input]) => [make("label", {}, field.label, input), suggestions(field, input)]),
    make("p", { class: "buttons" },
      make("button", { type: "submit", class: "primary" }, action.word),
      make("button", { type: "button", onclick: () => dialog.close() }, text.cancel)));
  const dialog = make("dialog", { "aria-labelledby": "ask-title" }, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    body = bodyOf(inputs);
    dialog.close();
  });
  await ask(dialog);
  return body;
}

function inputOf(field) {
  const shared = { name: field.name, required: field.required || field.suggest !== undefined };
  if (field.kind === "select") return make("select", shared, ...field.choices.map(([value, word]) => make("option", { value }, word)));
  if (field.kind === "textarea") return make("textarea", { ...shared, rows: 3, maxlength: 2000 });
  return make("input", { ...shared, maxlength: 200, list: field.suggest ? `suggest-${field.name}` : null, autocomplete: "off" });
}

function suggestions(field) {
  if (!field.suggest) return null;
  return make("datalist", { id: `suggest-${field.name}` }, ...field.suggest().map((value) => make("option", { value })));
}

function bodyOf(inputs) {
  const body = {};
  for (const [field, input] of inputs) {
    if (field.name === "until") body.until = new Date(now() + Number(input.value) * 60_000).toISOString();
    else if (input.value.trim()) body[field.name] = input.value.trim();
  }
  return body;
}
