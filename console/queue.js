// The queue of open alerts: the worst first, of these the oldest, shelved ones last. Rows stay where the eye and the
// keyboard left them: only what changed is written.
import { actionsFor, button, moreButton, perform } from "/console/actions.js";
import { age } from "/console/clock.js";
import { atNextFrame, make, write } from "/console/elements.js";
import { keyOf } from "/console/keys.js";
import { who } from "/console/people.js";
import { isShelved, store } from "/console/store.js";
import { labels, severityWord, statusWord, typeWord } from "/console/words.js";

const RANK = { CRITICAL: 0, HIGH: 1, MEDIUM: 2, LOW: 3 };
const SHOWN = 300;
const AT_HAND = new Set(["acknowledge", "start", "resolve"]); // done at a click; the others ask something
const text = labels.queue;
const COLUMNS = text.heads;
const TICK_MS = 1000;

export function inOrder(alerts) {
  return [...alerts].sort(
    (a, b) => isShelved(a) - isShelved(b) || RANK[a.severity] - RANK[b.severity] || Date.parse(a.received_at) - Date.parse(b.received_at),
  );
}

export function whoHas(alert) {
  const status = statusWord(alert.status);
  const parts = [alert.acknowledged_by ? text.by(status, who(alert.acknowledged_by)) : status];
  if (alert.status === "NEW" && alert.previous_holder) parts.push(text.before(who(alert.previous_holder)));
  if (alert.assigned_to) parts.push(text.assigned(who(alert.assigned_to)));
  if (isShelved(alert)) parts.push(text.shelved(new Date(alert.shelved_until).toLocaleTimeString()));
  return parts.join(", ");
}

export class Queue {
  #rows = new Map();
  #selected = null;
  #onSelect;

  // `onSelect` gets the alert on which the keyboard is.
  constructor(onSelect) {
    this.#onSelect = onSelect;
    this.count = make("span", { class: "count", id: "count" }, "0");
    this.body = make("tbody", { id: "alerts" });
    this.rest = make("p", { hidden: true });
    this.empty = make("p", { class: "quiet" }, text.none);
    const heads = COLUMNS.map((name) => make("th", { scope: "col" }, name));
    this.table = make("table", { "aria-describedby": "queue-keys" }, make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.element = make("section", { class: "queue", "aria-labelledby": "queue-title" },
      make("h2", { id: "queue-title" }, text.title, this.count),
      make("p", { id: "queue-keys", class: "hint" }, text.keys),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": text.region }, this.table, this.empty, this.rest));
    this.table.addEventListener("keydown", (event) => this.#press(event));
    this.body.addEventListener("focusin", ({ target }) => this.#select(target.closest("tr")?.dataset.id));
    const render = atNextFrame(() => this.#render());
    store.addEventListener("alerts", render);
    setInterval(() => this.#tick(), TICK_MS);
    this.#render();
  }

  focus() {
    (this.#rows.get(this.#selected) ?? this.body.firstElementChild)?.focus();
  }

  #render() {
    const alerts = inOrder(store.alerts.values());
    write(this.count, alerts.length);
    this.table.hidden = alerts.length === 0;
    this.empty.hidden = alerts.length > 0;
    this.rest.hidden = alerts.length <= SHOWN;
    write(this.rest, text.rest(alerts.length - SHOWN));
    this.#place(alerts.slice(0, SHOWN));
    this.#tick();
  }

  #place(alerts) {
    const held = document.activeElement?.closest("tr")?.dataset.id;
    const heldAt = [...this.#rows.keys()].indexOf(held);
    const rows = new Map(alerts.map((alert) => [alert.id, this.#row(alert)]));
    for (const [id, row] of this.#rows) if (!rows.has(id)) row.remove();
    // Moving an element takes the focus from it: only what stands wrong is moved.
    let next = this.body.firstElementChild;
    for (const row of rows.values()) {
      if (row === next) next = next.nextElementSibling;
      else this.body.insertBefore(row, next);
    }
    this.#rows = rows;
    if (!rows.has(this.#selected)) this.#selected = null;
    this.#mark();
    if (held === undefined) return;
    const after = rows.get(held) ?? [...rows.values()][Math.min(heldAt, rows.size - 1)];
    if (after && !after.contains(document.activeElement)) after.focus();
  }

  #row(alert) {
    const row = this.#rows.get(alert.id) ?? make("tr", { "data-id": alert.id }, ...COLUMNS.map(() => make("td")));
    row.className = `${alert.severity}${isShelved(alert) ? " shelved" : ""}${alert.status === "NEW" ? " new" : ""}`;
    row.dataset.trace = alert.trace ?? row.dataset.trace ?? ""; // by which the logs tell the alert's way
    const [severity, type, source, what, , times, holder, act] = row.cells;
    const typed = typeWord(alert.alert_type);
    write(severity, severityWord(alert.severity));
    if (type.textContent !== typed) type.replaceChildren(make("a", { href: `#/alerts/${alert.id}` }, typed));
    write(source, alert.source_id);
    write(what, `${alert.drill ? text.drill : ""}${alert.silent ? text.silent : ""}${alert.message}`);
    write(times, alert.occurrences);
    write(holder, whoHas(alert));
    this.#offer(act, alert);
    return row;
  }

  #offer(cell, alert) {
    const offered = actionsFor(alert);
    const names = offered.map(({ path }) => path).join();
    if ((cell.dataset.offered ?? "") === names) return;
    cell.dataset.offered = names;
    const first = offered.slice(0, AT_HAND.has(offered[0]?.path) ? 1 : 0);
    cell.replaceChildren(...first.map((action) => button(action, alert)), ...(offered.length > first.length ? [moreButton(alert)] : []));
  }

  // Which alert the keyboard is on; one row of the table is in the order of Tab, the arrows reach the others.
  #select(id) {
    if (id === undefined || id === this.#selected) return;
    this.#selected = id;
    this.#mark();
  }

  #mark() {
    const stop = this.#rows.has(this.#selected) ? this.#selected : this.#rows.keys().next().value;
    for (const [id, row] of this.#rows) {
      row.tabIndex = id === stop ? 0 : -1;
      if (id === this.#selected) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    this.#onSelect(store.alerts.get(this.#selected) ?? null);
  }

  #press(event) {
    const row = event.target.closest("tr[data-id]");
    const alert = store.alerts.get(row?.dataset.id);
    const meant = alert && keyOf(event);
    if (!meant) return;
    if (meant.open && event.target !== row) return; // Enter on a button or a link is theirs
    event.preventDefault();
    if (meant.move) this.#move(row, meant.move);
    else if (meant.open) location.hash = `#/alerts/${alert.id}`;
    else if (meant.help) document.getElementById("keys-button").click();
    else if (actionsFor(alert).includes(meant.action)) perform(meant.action, alert);
  }

  #move(row, way) {
    const rows = [...this.#rows.values()];
    const at = rows.indexOf(row);
    const to = { up: at - 1, down: at + 1, first: 0, last: rows.length - 1 }[way];
    rows[Math.max(0, Math.min(to, rows.length - 1))].focus();
  }

  #tick() {
    for (const [id, row] of this.#rows) {
      const alert = store.alerts.get(id);
      if (alert) write(row.cells[4], age(alert.received_at));
    }
  }
}
