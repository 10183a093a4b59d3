// What the feed has told: open alerts, newest positions, states of devices. Views listen; they never change it.
//
// Events: `alerts` (the set of open ones), `alert` (one alert; detail is it), `guards` (detail: ids that moved, null for
// all), `devices`.

import { now } from "/console/clock.js";

const REMEMBERED = 10_000;
const OPEN = new Set(["NEW", "ACKNOWLEDGED", "IN_PROGRESS"]);

export const isOpen = (alert) => OPEN.has(alert.status);
export const isShelved = (alert) => alert.shelved_until !== null && Date.parse(alert.shelved_until) > now();

const UNEXPECTED = new Set(["off_shift", "disabled"]); // what only the feed tells, until something is heard again

function wordOf({ silent_since, recorded_at }, before) {
  if (silent_since) return "silent";
  return UNEXPECTED.has(before?.state) && before.recorded_at === recorded_at ? before.state : "online";
}

class Store extends EventTarget {
  alerts = new Map();
  guards = new Map();
  devices = new Map();
  missing = []; // parts that the snapshot came without
  #events = new Map(); // of each alert the newest event that a frame told

  take(frame) {
    if (frame.type === "snapshot") this.#replace(frame.data);
    else if (frame.type === "positions") this.#move(frame.data);
    else if (frame.type === "device_status") this.#note(frame.data);
    else if (frame.data?.alert_type) this.#show({ ...frame.data, trace: frame.trace ?? "" });
  }

  forget() {
    this.#replace({ alerts: [], positions: [], devices: [], missing: [] });
  }

  #replace(data) {
    this.alerts = new Map(data.alerts.map((alert) => [alert.id, alert]));
    this.guards = new Map(data.positions.map((position) => [position.guard_id, position]));
    this.devices = new Map((data.devices ?? []).map((state) => [state.source_id, { ...state, state: wordOf(state) }]));
    this.missing = data.missing ?? [];
    this.#tell("alerts");
    this.#tell("guards", null);
    this.#tell("devices");
    for (const alert of this.alerts.values()) this.#tell("alert", alert);
  }

  // Of several location processes one may come late with what it has: no marker moves back.
  #move(positions) {
    const moved = [];
    for (const position of positions) {
      const shown = this.guards.get(position.guard_id);
      if (shown && Date.parse(shown.recorded_at) > Date.parse(position.recorded_at)) continue;
      this.guards.set(position.guard_id, position);
      moved.push(position.guard_id);
    }
    if (moved.length) this.#tell("guards", moved);
  }

  #note(states) {
    for (const state of states) this.devices.set(state.source_id, { ...this.devices.get(state.source_id), ...state });
    this.#tell("devices");
  }

  // Newest readings, as the API lists them: they do not come by the feed.
  learn(states) {
    for (const state of states) this.devices.set(state.source_id, { ...state, state: wordOf(state, this.devices.get(state.source_id)) });
    this.#tell("devices");
  }

  // A frame that comes again after a fault may be older than one that came in between: no alert moves back.
  #show(alert) {
    if (alert.event < this.#events.get(alert.id)) return;
    if (Number.isInteger(alert.event)) this.#remember(alert);
    if (isOpen(alert)) this.alerts.set(alert.id, alert);
    else this.alerts.delete(alert.id);
    this.#tell("alerts");
    this.#tell("alert", alert);
  }

  #remember({ id, event }) {
    this.#events.delete(id);
    this.#events.set(id, event);
    if (this.#events.size > REMEMBERED) this.#events.delete(this.#events.keys().next().value);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

export const store = new Store();
