// How fresh the screen is: always told, and told loudly when it is not.
import { ageOf } from "/console/clock.js";
import { write } from "/console/elements.js";
import { link } from "/console/link.js";
import { session } from "/console/session.js";
import { store } from "/console/store.js";

const TELL_EVERY_MS = 1000;
const PATIENCE_S = 2; // a gateway that restarts is back before anybody has read a banner
const byId = (id) => document.getElementById(id);
const since = (moment_ms) => ageOf((Date.now() - moment_ms) / 1000);

export function startFreshness() {
  setInterval(tell, TELL_EVERY_MS);
  link.addEventListener("changed", tell);
  session.addEventListener("ended", tell);
}

function tell() {
  const status = byId("link");
  status.classList.toggle("lost", session.open && !link.live);
  write(status, statusOf());
  show("banner-lost", session.open && link.lostAt !== null && Date.now() - link.lostAt > PATIENCE_S * 1000, lostText());
  show("banner-blind", session.open && link.live && link.blind);
  show("banner-missing", session.open && store.missing.length > 0, `The snapshot came without: ${store.missing.join(", ")}. Guards and devices come as they report.`);
}

function statusOf() {
  if (!session.open) return "not connected";
  if (!link.live) return link.heardAt === null ? "connecting" : "link lost, connecting again";
  const event = link.eventAt === null ? "no event yet" : `last event ${since(link.eventAt)} ago`;
  return `live, last heard ${since(link.heardAt)} ago, ${event}`;
}

// Without a running count: a screen reader would read it out every second.
function lostText() {
  if (link.lostAt === null) return "";
  const from = link.heardAt === null ? "Nothing was heard yet" : `What you see is from ${new Date(link.heardAt).toLocaleTimeString()}`;
  return `The link is lost. ${from}. It comes back by itself. ${link.problem}`;
}

function show(id, shown, text) {
  const banner = byId(id);
  if (text !== undefined && shown) write(banner, text);
  banner.hidden = !shown;
}
