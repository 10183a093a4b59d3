// One guard: where, what is open, and a day's track to play back, with what it came to.
import { list } from "/console/api.js";
import { age, dayOf, moment, today } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { number, zonesOf } from "/console/guards.js";
import { live } from "/console/live.js";
import { inOrder, whoHas } from "/console/queue.js";
import { store } from "/console/store.js";
import { TrackView } from "/console/track.js";
import { TransitionList } from "/console/transitions.js";
import { graveTitle, labels } from "/console/words.js";

export function guardPage(id) {
  const facts = make("dl", { class: "facts" });
  const alerts = make("ul");
  const none = make("p", { class: "quiet" }, labels.common.noOpenAlert);
  const name = make("p", { class: "quiet" });
  const track = new TrackView(id);
  const transitions = new TransitionList((at) => track.seek(Date.parse(at)));
  const day = make("input", { type: "date", value: today(), max: today(), required: true });
  // Whoever looks at today goes on looking at today.
  const turn = () => {
    const [before, after] = [day.max, today()];
    if (before === after) return;
    day.max = after;
    if (day.value !== before) return;
    day.value = after;
    look();
  };
  const element = make("article", {},
    make("p", {}, make("a", { href: "#/guards" }, labels.guard.all)),
    make("h1", { tabindex: "-1" }, id), name,
    make("div", { class: "sides" },
      make("div", {}, facts, make("section", {}, make("h2", {}, labels.common.openAlerts), alerts, none), transitions.element),
      make("section", { "aria-labelledby": "track-title" }, make("h2", { id: "track-title" }, labels.guard.track), make("label", { class: "inline" }, labels.guard.day, day), track.element)));
  const render = () => {
    turn();
    const guard = store.guards.get(id);
    facts.replaceChildren(...(guard ? factsOf(guard) : [[labels.guard.position, labels.devices.never]]).flatMap(([head, value]) => [make("dt", {}, head), make("dd", {}, value)]));
    const own = inOrder([...store.alerts.values()].filter((alert) => alert.source_id === id || alert.carried_by === id));
    const shown = own.map((alert) => `${alert.id} ${alert.status}`).join();
    none.hidden = own.length > 0;
    if (alerts.dataset.shown === shown) return;
    alerts.dataset.shown = shown;
    alerts.replaceChildren(...own.map((alert) => make("li", {}, make("a", { href: `#/alerts/${alert.id}` }, graveTitle(alert)), ` ${whoHas(alert)}`)));
  };
  const look = () => {
    if (!day.value) return;
    const period = dayOf(day.value);
    track.show(period);
    transitions.show(id, period);
  };
  day.addEventListener("change", look);
  const page = live(id, element, ["guards", "alerts"], render);
  return {
    ...page,
    shown() {
      page.shown();
      nameOf(id).then((text) => write(name, text), (error) => write(name, labels.guard.nameUnknown(error.message)));
      look();
      track.start();
      transitions.start();
    },
    left() {
      page.left();
      track.stop();
      transitions.stop();
    },
  };
}

async function nameOf(id) {
  const guard = (await list("/guards")).find(({ guard_id }) => guard_id === id);
  if (!guard) return labels.guard.unregistered;
  const name = guard.name || labels.guard.noName;
  return guard.enabled ? name : labels.guard.disabled(name);
}

function factsOf(guard) {
  return [
    [labels.guard.position, `${guard.lat.toFixed(5)}, ${guard.lon.toFixed(5)}`],
    [labels.common.deviceTime, `${moment(guard.recorded_at)} (${age(guard.recorded_at)} ago)`],
    [labels.guard.accuracy, number(guard.accuracy, "m")],
    [labels.guard.speed, number(guard.speed, "m/s", 1)],
    [labels.guard.heading, number(guard.heading, "degrees")],
    [labels.guard.zones, zonesOf(guard)],
  ];
}
