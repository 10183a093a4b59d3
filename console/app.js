// The first desk: log in, see open alerts live, acknowledge. Everything from devices is shown as text.
import { Opener } from "/console/feed.js";

const RECONNECT_MS = [500, 1000, 2000, 5000];
const REFRESH_SHARE = 0.8;
const OPEN = new Set(["NEW", "ACKNOWLEDGED", "IN_PROGRESS"]);
const RANK = { CRITICAL: 0, HIGH: 1, MEDIUM: 2, LOW: 3 };
const byId = (id) => document.getElementById(id);

const desk = { session: null, refreshing: null, opener: null, socket: null, since: null, failures: 0, heardAt: 0, alerts: new Map(), guards: new Map() };

async function call(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (desk.session) headers.Authorization = `Bearer ${desk.session.token}`;
  const answer = await fetch(path, { method, headers, body: method === "GET" ? undefined : JSON.stringify(body ?? {}) });
  const result = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(result.detail ?? answer.statusText), { status: answer.status });
  return result;
}

const post = (path, body) => call("POST", path, body);

// A token lasts minutes, a session a shift: each refresh token is good once and brings the next.
async function refresh() {
  clearTimeout(desk.refreshing);
  desk.session = await post("/api/v1/session/refresh", { refresh_token: desk.session.refresh_token });
  refreshInTime();
}

function refreshInTime() {
  desk.refreshing = setTimeout(() => refresh().catch((error) => expire(error)), desk.session.expires_in * REFRESH_SHARE * 1000);
}

function expire(error) {
  if (error.status !== 401) {
    desk.refreshing = setTimeout(() => refresh().catch(expire), RECONNECT_MS.at(-1));
    return;
  }
  clearTimeout(desk.refreshing);
  desk.session = null;
  desk.socket?.close();
  byId("login").hidden = false;
  byId("login-error").textContent = "The session has ended. Log in again to go on where you were.";
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("login-error").textContent = "";
  try {
    desk.session = null;
    desk.session = await post("/api/v1/session", { user: byId("user").value, password: byId("password").value });
    desk.opener = new Opener(desk.session.feed_keys, desk.session.tenant_id, fetchKeys);
    refreshInTime();
    byId("password").value = "";
    byId("login").hidden = true;
    byId("desk").hidden = false;
    connect();
  } catch (error) {
    byId("login-error").textContent = error.message;
  }
});

async function fetchKeys() {
  return (await call("GET", "/api/v1/feed-keys")).feed_keys;
}

async function connect() {
  try {
    const { ticket } = await post("/api/v1/tickets");
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const since = desk.since === null ? "" : `?since=${desk.since}`;
    const socket = new WebSocket(`${scheme}://${location.host}/ws/noc/dashboard/${since}`, ["vigil.noc.v1", `ticket.${ticket}`]);
    desk.socket = socket;
    // Frames are opened one after the other: their order is part of what is checked.
    let turn = Promise.resolve();
    socket.addEventListener("message", (event) => {
      turn = turn.then(() => take(JSON.parse(event.data))).catch((error) => refuse(socket, error));
    });
    socket.addEventListener("close", (event) => lost(event.code));
  } catch (error) {
    lost(error.status === 401 ? 4401 : 1006);
  }
}

function refuse(socket, error) {
  byId("desk-error").textContent = error.message;
  desk.since = null; // what was seen cannot be trusted: start from a snapshot
  socket.close();
}

function lost(code) {
  desk.socket = null;
  if (desk.session === null) return;
  if (code === 4401) {
    refresh().then(connect, expire);
    return;
  }
  const wait = RECONNECT_MS[Math.min(desk.failures, RECONNECT_MS.length - 1)];
  desk.failures += 1;
  setTimeout(connect, wait);
}

async function take(frame) {
  desk.heardAt = Date.now();
  desk.failures = 0;
  if (frame.type === "connected" && !frame.resumed) desk.since = null;
  if (frame.data === undefined) {
    if (frame.type === "error") byId("desk-error").textContent = frame.message;
    if (frame.type === "heartbeat") byId("blind").hidden = !frame.blind;
    return;
  }
  const after = frame.type === "snapshot" ? -1 : desk.since ?? 0;
  const data = await desk.opener.open(frame, after);
  desk.since = frame.id;
  if (frame.type === "snapshot") {
    desk.alerts = new Map(data.alerts.map((alert) => [alert.id, alert]));
    desk.guards = new Map(data.positions.map((position) => [position.guard_id, position]));
  } else if (frame.type === "positions") {
    // Of several location processes one may come late with what it has: no marker moves back.
    for (const position of data) {
      const shown = desk.guards.get(position.guard_id);
      if (!shown || Date.parse(shown.recorded_at) <= Date.parse(position.recorded_at))
        desk.guards.set(position.guard_id, position);
    }
  } else if (data.alert_type) {
    data.trace = frame.trace ?? ""; // by which the logs tell the alert's way
    if (OPEN.has(data.status)) desk.alerts.set(data.id, data);
    else desk.alerts.delete(data.id);
  }
  show();
}

function show() {
  const alerts = [...desk.alerts.values()].sort(
    (a, b) => RANK[a.severity] - RANK[b.severity] || Date.parse(a.received_at) - Date.parse(b.received_at),
  );
  byId("count").textContent = String(alerts.length);
  byId("guards").textContent = `${desk.guards.size} guards on the map.`;
  byId("alerts").replaceChildren(...alerts.map(row));
}

function row(alert) {
  const line = document.createElement("tr");
  line.className = alert.severity;
  line.dataset.id = alert.id;
  line.dataset.trace = alert.trace ?? "";
  const who = alert.acknowledged_by ? `${alert.status} by ${alert.acknowledged_by}` : alert.status;
  const age = `${Math.max(0, Math.round((Date.now() - Date.parse(alert.received_at)) / 1000))} s`;
  for (const text of [alert.severity, alert.alert_type, alert.source_id, alert.message, age, alert.occurrences, who]) {
    line.append(Object.assign(document.createElement("td"), { textContent: String(text) }));
  }
  const cell = document.createElement("td");
  if (alert.status === "NEW") {
    const button = Object.assign(document.createElement("button"), { textContent: "Acknowledge", type: "button" });
    button.setAttribute("aria-label", `Acknowledge ${alert.alert_type} of ${alert.source_id}`);
    button.addEventListener("click", () => acknowledge(alert.id));
    cell.append(button);
  }
  line.append(cell);
  return line;
}

function acknowledge(id) {
  byId("desk-error").textContent = "";
  if (desk.socket?.readyState !== WebSocket.OPEN) {
    byId("desk-error").textContent = "The link is lost; try again when it is back.";
    return;
  }
  desk.socket.send(JSON.stringify({ type: "acknowledge_alert", alert_id: id, ref: id }));
}

setInterval(() => {
  const link = byId("link");
  const live = desk.socket?.readyState === WebSocket.OPEN;
  const age = desk.heardAt ? Math.round((Date.now() - desk.heardAt) / 1000) : null;
  link.className = live ? "" : "lost";
  link.textContent = desk.session === null ? "not connected" : live ? `live, last heard ${age} s ago` : "link lost, connecting again";
  if (desk.session) show();
}, 1000);
