// One alert: its facts, its actions, its timeline, and its notifications.
import { actionsFor, button, perform } from "/console/actions.js";
import { get, list } from "/console/api.js";
import { age, ageOf, moment } from "/console/clock.js";
import { make, refill, write } from "/console/elements.js";
import { keyOf } from "/console/keys.js";
import { Questions } from "/console/live.js";
import { Nearest } from "/console/nearest.js";
import { whoHas } from "/console/queue.js";
import { who } from "/console/people.js";
import { store } from "/console/store.js";
import { TrackView } from "/console/track.js";
import { actionWord, channelWord, flagWord, graveTitle, labels, notificationWord, typeWord } from "/console/words.js";

const text = labels.alert;
const BEFORE_MS = 30 * 60_000;
const AFTER_MS = 30 * 60_000;
const LOOK_AGAIN_MS = 10_000; // messages go on being delivered while nothing happens to the alert

export function alertPage(id) {
  const page = new AlertPage(id);
  return { title: text.title, element: page.element, shown: () => page.start(), left: () => page.stop() };
}

class AlertPage {
  #id;
  #alert = null;
  #timer = null;
  #track = null;
  #loads = new Questions();
  #left = false; // what was asked before may be answered after
  #changed = ({ detail }) => detail.id === this.#id && this.#load();

  constructor(id) {
    this.#id = id;
    this.title = make("h1", { tabindex: "-1" }, text.title);
    this.facts = make("dl", { class: "facts" });
    this.actions = make("div", { class: "buttons", role: "group", "aria-label": text.actions });
    this.timeline = make("tbody");
    this.told = make("tbody");
    this.nobody = make("p", { class: "quiet" }, text.noNotifications);
    this.problem = make("p", { role: "alert" });
    const table = (id, heads, body) => make("table", { "aria-labelledby": id }, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), body);
    this.toldTable = table("told-title", text.notificationHeads, this.told);
    this.nearest = new Nearest();
    this.around = make("section", { "aria-labelledby": "around-title", hidden: true }, make("h2", { id: "around-title" }, text.track));
    this.element = make("article", { class: "alert-page" },
      make("p", {}, make("a", { href: "#/desk" }, text.back)),
      this.title, this.problem, this.actions,
      make("div", { class: "sides" }, make("div", {}, this.facts, this.nearest.element), this.around),
      make("section", {}, make("h2", { id: "timeline-title" }, text.timeline), table("timeline-title", text.timelineHeads, this.timeline)),
      make("section", {}, make("h2", { id: "told-title" }, text.notifications), this.toldTable, this.nobody));
    this.element.addEventListener("keydown", (event) => this.#press(event));
  }

  start() {
    store.addEventListener("alert", this.#changed);
    this.#timer = setInterval(() => this.#load(), LOOK_AGAIN_MS);
    this.title.focus();
    this.#load();
  }

  stop() {
    store.removeEventListener("alert", this.#changed);
    clearInterval(this.#timer);
    this.#left = true;
    this.#track?.stop();
  }

  async #load() {
    const path = encodeURIComponent(this.#id);
    const question = this.#loads.ask();
    try {
      const [alert, notifications] = await Promise.all([get(`/alerts/${path}`), list(`/notifications?alert_id=${path}`, { most: 500 })]);
      if (this.#left || !this.#loads.take(question)) return;
      this.#show(alert, notifications);
      write(this.problem, "");
    } catch (error) {
      if (this.#loads.take(question)) write(this.problem, labels.common.notUpToDate(error.message));
    }
  }

  #show(alert, notifications) {
    const offered = actionsFor(alert).map(({ path }) => path).join();
    if (this.#alert === null || this.actions.dataset.offered !== offered) {
      refill(this.actions, actionsFor(alert).map((action) => button(action, alert)), (child) => child.dataset.action, this.title);
      this.actions.dataset.offered = offered;
    }
    this.#alert = alert;
    this.element.dataset.severity = alert.severity;
    write(this.title, `${graveTitle(alert)} of ${alert.source_id}`);
    this.facts.replaceChildren(...factsOf(alert).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
    this.timeline.replaceChildren(...alert.timeline.map((entry) => rowOf(moment(entry.at), actionWord(entry.action), who(entry.by), entry.note)));
    this.told.replaceChildren(...notifications.toReversed().map(toldRow));
    this.toldTable.hidden = notifications.length === 0;
    this.nobody.hidden = notifications.length > 0;
    const place = placeOf(alert);
    this.nearest.show(alert, place);
    this.#showTrack(alert, place);
  }

  // Once: what happened half an hour before and after it does not move; the map keeps the operator's view.
  async #showTrack(alert, place) {
    const guardId = guardOf(alert);
    if (this.#track !== null || guardId === null) return;
    this.#track = new TrackView(guardId);
    this.around.append(this.#track.element);
    this.around.hidden = false;
    const at = Date.parse(alert.recorded_at);
    const mark = place && { ...place, name: typeWord(alert.alert_type) };
    await this.#track.show({ since: new Date(at - BEFORE_MS), until: new Date(at + AFTER_MS) }, { from: at, mark });
    if (!this.#left) this.#track.start();
  }

  #press(event) {
    if (event.target.closest("input, textarea, select, dialog") || this.#alert === null) return;
    const meant = keyOf(event);
    if (meant?.help) document.getElementById("keys-button").click();
    else if (meant?.action && actionsFor(this.#alert).includes(meant.action)) {
      event.preventDefault();
      perform(meant.action, this.#alert);
    }
  }
}

// Whose track it is: the guard's that sent it, or that carried what did.
const guardOf = (alert) => alert.carried_by ?? (store.guards.has(alert.source_id) ? alert.source_id : null);

// Where it says, else where its guard is.
function placeOf(alert) {
  if (alert.lat !== null) return { lat: alert.lat, lon: alert.lon };
  const guard = store.guards.get(guardOf(alert));
  return guard ? { lat: guard.lat, lon: guard.lon } : null;
}

const rowOf = (...values) => make("tr", {}, ...values.map((value) => make("td", {}, value)));

function toldRow(one) {
  const how = [notificationWord(one.state)];
  if (one.accepted_at) how.push(text.acceptedAt(moment(one.accepted_at)));
  if (one.error) how.push(one.error);
  if (one.possible_duplicate) how.push(text.twice);
  return rowOf(moment(one.created_at), one.step < 0 ? text.assigned : `${one.round}.${one.step}`, one.name || one.recipient, channelWord(one.channel), how.join("; "), one.attempts);
}

function factsOf(alert) {
  const until = (later) => (later ? text.after(moment(later), ageOf((Date.parse(later) - Date.parse(alert.received_at)) / 1000)) : text.notYet);
  const place = alert.lat === null ? text.noLocation : `${alert.lat.toFixed(5)}, ${alert.lon.toFixed(5)}`;
  return [
    [text.status, whoHas(alert)],
    ...(alert.previous_holder ? [[text.previousHolder, who(alert.previous_holder)]] : []),
    [text.message, `${alert.drill ? labels.queue.drill : ""}${alert.message || "-"}`],
    [text.received, text.ago(moment(alert.received_at), age(alert.received_at))],
    [text.deviceTime, moment(alert.recorded_at)],
    [text.occurrences, text.occurrencesOf(alert.occurrences, moment(alert.last_seen_at))],
    [text.location, place],
    [text.carriedBy, alert.carried_by ?? "-"],
    [text.shown, until(alert.shown_at)],
    [text.notified, until(alert.notified_at)],
    [text.accepted, until(alert.accepted_at)],
    [text.closed, until(alert.closed_at)],
    [text.flags, alert.flags.map(flagWord).join(", ") || text.noFlags],
  ];
}
