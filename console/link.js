// The link to the feed: a ticket, a socket, and the same again from where it stopped, until the session ends.
import { get, post } from "/console/api.js";
import { setServerTime } from "/console/clock.js";
import { Opener, Watcher } from "/console/feed.js";
import { session } from "/console/session.js";
import { store } from "/console/store.js";
import { labels } from "/console/words.js";

const RECONNECT_MS = [500, 1000, 2000, 5000];
const LOOK_MS = 1000;
const WORRY_HEARTBEATS = 1.8; // heard nothing for so many intervals: the screen says that it may be blind
const MISSED_HEARTBEATS = 2.5; // and for so many: the link is given up and made again
const SAY_EVERY_MS = 20_000; // the gateway lets go of a screen that says nothing for a minute
const ENDED = new Set([4401, 4403]);

class Link extends EventTarget {
  live = false;
  blind = null; // { since, away } from the gateway while something is away, which a lost link does not end
  heardAt = null; // any frame, by this computer's clock
  eventAt = null; // the last frame that told something
  lostAt = null;
  problem = "";
  #watcher = null;
  #socket = null;
  #timer = null;
  #failures = 0;
  #heartbeat_s = 5;

  // Whether nothing was heard for so long that what is on the screen may be old, whatever the gateway said last.
  get unheard() {
    return this.heardAt !== null && Date.now() - this.heardAt > WORRY_HEARTBEATS * this.#heartbeat_s * 1000;
  }

  start() {
    // Who logs in again as the same tenant goes on where they were.
    const opener = new Opener(session.feedKeys, session.tenantId, async () => (await get("/feed-keys")).feed_keys);
    if (this.#watcher?.opener.tenantId === opener.tenantId) this.#watcher.opener = opener;
    else {
      store.forget();
      this.#watcher = new Watcher(opener);
    }
    this.#failures = 0;
    this.#connect();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = null;
    this.#set({ live: false });
  }

  async #connect() {
    clearTimeout(this.#timer);
    let ticket;
    try {
      ({ ticket } = await post("/tickets"));
    } catch (error) {
      this.#again(error.message);
      return;
    }
    if (session.open && this.#socket === null) this.#open(ticket);
  }

  #open(ticket) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const since = this.#watcher.since === null ? "" : `?since=${this.#watcher.since}`;
    const socket = new WebSocket(`${scheme}://${location.host}/ws/noc/dashboard/${since}`, ["vigil.noc.v1", `ticket.${ticket}`]);
    this.#socket = socket;
    // Frames are opened one after the other: their order is part of what is checked.
    let turn = Promise.resolve();
    socket.addEventListener("message", ({ data }) => {
      turn = turn.then(() => this.#take(socket, data)).catch((error) => this.#refuse(socket, error));
    });
    socket.addEventListener("close", ({ code }) => turn.then(() => this.#closed(socket, code)));
    this.#watch(socket);
  }

  // A network may vanish without a word: then no close comes for minutes.
  #watch(socket) {
    const openedAt = Date.now();
    let saidAt = openedAt;
    const look = setInterval(() => {
      if (this.#socket !== socket) {
        clearInterval(look);
        return;
      }
      if (this.live && Date.now() - saidAt > SAY_EVERY_MS) {
        saidAt = Date.now();
        socket.send(JSON.stringify({ type: "heartbeat" }));
      }
      if (Date.now() - Math.max(openedAt, this.heardAt ?? 0) > MISSED_HEARTBEATS * this.#heartbeat_s * 1000) {
        clearInterval(look);
        socket.close();
        this.#closed(socket, 1006);
      }
    }, LOOK_MS);
  }

  async #take(socket, text) {
    if (this.#socket !== socket) return;
    const frame = await this.#watcher.take(text);
    this.heardAt = Date.now();
    if (frame.type === "connected") this.#welcome(frame);
    else if (frame.type === "heartbeat") this.#beat(frame);
    else if (frame.type === "error") this.#set({ problem: frame.message });
    else if (frame.data !== undefined) {
      this.eventAt = Date.now();
      if (!frame.repeated) store.take(frame);
    }
  }

  #welcome(frame) {
    this.#failures = 0;
    this.#heartbeat_s = frame.heartbeat_interval ?? this.#heartbeat_s;
    this.#set({ live: true, lostAt: null, problem: "" });
    this.#socket.send(JSON.stringify({ type: "heartbeat" })); // its answer says at once whether anything is away
  }

  #beat(frame) {
    setServerTime(frame.server_time);
    this.#set({ blind: frame.blind === true ? { since: Date.parse(frame.since), away: frame.away } : null });
  }

  #refuse(socket, error) {
    if (this.#socket !== socket) return;
    this.#watcher.forget(); // what was seen cannot be trusted: start from a snapshot
    this.#set({ problem: labels.link.refused(error.message) });
    socket.close();
  }

  async #closed(socket, code) {
    if (this.#socket !== socket) return;
    this.#socket = null;
    if (ENDED.has(code) && (await session.renew())) this.#connect();
    else this.#again("");
  }

  #again(problem) {
    if (!session.open) return;
    this.#set({ live: false, lostAt: this.lostAt ?? Date.now(), problem: problem || this.problem });
    const wait_ms = RECONNECT_MS[Math.min(this.#failures, RECONNECT_MS.length - 1)];
    this.#failures += 1;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), wait_ms);
  }

  #set(changes) {
    Object.assign(this, changes);
    this.dispatchEvent(new Event("changed"));
  }
}

export const link = new Link();
