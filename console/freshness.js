// How fresh the screen is: always shown, and shown loudly when it is not.
import { ageOf } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { link } from "/console/link.js";
import { session } from "/console/session.js";
import { store } from "/console/store.js";
import { blindWords, labels } from "/console/words.js";

const TELL_EVERY_MS = 1000;
const PATIENCE_S = 2; // a gateway that restarts is back before anybody has read a banner
const AGAIN_MS = 60_000;
const byId = (id) => document.getElementById(id);
const since = (moment_ms) => ageOf((Date.now() - moment_ms) / 1000);
const clock = (moment_ms) => new Date(moment_ms).toLocaleTimeString();

let blindFrom = null; // since when this screen may be blind for alarms, while it is
let again = null; // { at, length_ms }: when it last saw again

export function startFreshness() {
  setInterval(tell, TELL_EVERY_MS);
  link.addEventListener("changed", tell);
  session.addEventListener("ended", tell);
}

function tell() {
  const found = session.open ? blindness() : null;
  noteEnd(found);
  const status = byId("link");
  status.classList.toggle("lost", session.open && (!link.live || found?.kind === "alarms"));
  write(status, statusOf(found));
  showBlindness(found);
  const isLost = session.open && link.lostAt !== null && Date.now() - link.lostAt > PATIENCE_S * 1000;
  show("banner-lost", isLost && found === null, `${blindWords.lost(link.heardAt === null ? null : clock(link.heardAt))} ${link.problem}`);
  const sawAgain = session.open && found === null && again !== null && Date.now() - again.at < AGAIN_MS;
  show("banner-again", sawAgain, again === null ? "" : blindWords.again(clock(again.at), ageOf(again.length_ms / 1000)));
  show("banner-missing", session.open && store.missing.length > 0, labels.link.lacks(store.missing.join(", ")));
}

// What keeps alarms from this screen, gravest first: { kind, from, words }; null when nothing does.
function blindness() {
  if (link.unheard) {
    // What the gateway had said before holds on: nobody has heard that it ended.
    const from = Math.min(link.heardAt, link.blind?.since ?? link.heardAt);
    return { kind: "alarms", from, words: blindWords.screen(clock(from)) };
  }
  if (link.blind === null) return null;
  const { away, since: from } = link.blind;
  const kind = away.some((part) => part.hides_alarms) ? "alarms" : "partly";
  return { kind, from, words: blindWords[kind](clock(from), away.map((part) => part.reason)) };
}

function noteEnd(found) {
  if (found?.kind === "alarms") blindFrom = Math.min(found.from, blindFrom ?? found.from);
  else if (blindFrom !== null && session.open && link.live) {
    again = { at: Date.now(), length_ms: Date.now() - blindFrom };
    blindFrom = null;
  }
}

function statusOf(found) {
  if (!session.open) return labels.link.notConnected;
  const heard = link.heardAt === null ? "" : labels.link.heard(since(link.heardAt));
  if (found?.kind === "alarms") return labels.link.outOfDate(clock(found.from), heard);
  if (!link.live) return link.heardAt === null ? labels.link.connecting : labels.link.reconnecting;
  const event = link.eventAt === null ? labels.link.noEvent : labels.link.lastEvent(since(link.eventAt));
  return labels.link.live(heard, event);
}

// Without a running count, and written only when it differs: a screen reader would read it out every second.
function showBlindness(found) {
  const banner = byId("banner-blind");
  banner.hidden = found === null;
  const said = found === null ? "" : JSON.stringify(found.words);
  if (banner.dataset.said === said) return;
  banner.dataset.said = said;
  banner.classList.toggle("mild", found?.kind === "partly");
  if (found === null) banner.replaceChildren();
  else banner.replaceChildren(...partsOf(found.words));
}

const partsOf = ({ headline, steps, reasons }) => [
  make("p", { class: "headline" }, headline),
  make(steps.length > 1 ? "ol" : "ul", { class: "steps" }, ...steps.map((step) => make("li", {}, step))),
  make("ul", { class: "reasons", "aria-label": labels.link.why }, ...reasons.map((reason) => make("li", {}, reason))),
];

function show(id, shown, text) {
  const banner = byId(id);
  if (shown) write(banner, text.trim());
  banner.hidden = !shown;
}
