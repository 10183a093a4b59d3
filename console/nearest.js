// Who could go: the nearest free guards, and who is nearer but left out, and why.
import { say } from "/console/actions.js";
import { get, post } from "/console/api.js";
import { age } from "/console/clock.js";
import { busy, make, refill, write } from "/console/elements.js";
import { Questions } from "/console/live.js";
import { session } from "/console/session.js";
import { labels } from "/console/words.js";

const text = labels.nearest;

const metres = (distance_m) => (distance_m < 1000 ? `${Math.round(distance_m)} m` : `${(distance_m / 1000).toFixed(1)} km`);
const linkTo = (guard) => make("a", { href: `#/guards/${encodeURIComponent(guard.guard_id)}` }, guard.name ? `${guard.guard_id}, ${guard.name}` : guard.guard_id);

export class Nearest {
  #alert = null;
  #shown = "";
  #loads = new Questions();

  constructor() {
    this.list = make("ol");
    this.others = make("ul");
    this.left = make("details", { hidden: true }, make("summary", {}, text.others), this.others);
    this.problem = make("p", { class: "quiet" });
    this.title = make("h2", { tabindex: "-1" }, text.title);
    this.element = make("section", {}, this.title, this.list, this.problem, this.left);
  }

  // `place`: {lat, lon}, null when it is unknown.
  async show(alert, place) {
    this.#alert = alert;
    const question = this.#loads.ask();
    if (place === null) {
      this.#loads.take(question);
      write(this.problem, text.noLocation);
      return;
    }
    try {
      const found = await get(`/positions/nearest?${new URLSearchParams({ lat: place.lat, lon: place.lon, explain: true })}`);
      if (this.#loads.take(question)) this.#draw(found);
    } catch (error) {
      if (this.#loads.take(question)) write(this.problem, labels.common.notUpToDate(error.message));
    }
  }

  #draw({ guards, left_out: others }) {
    write(this.problem, guards.length ? "" : text.noneFree);
    const farthest = guards.at(-1)?.distance_m ?? Infinity;
    const nearer = (others ?? []).filter(({ distance_m, guard_id }) => distance_m <= farthest && guard_id !== this.#alert.source_id);
    const shown = JSON.stringify([guards.map(textOf), nearer.map(textOf), this.#alert.assigned_to]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const items = guards.map((guard) => make("li", {}, linkTo(guard), ` ${textOf(guard)} `, this.#assign(guard)));
    refill(this.list, items, (child) => child.ariaLabel ?? child.hash, this.title);
    this.others.replaceChildren(...nearer.map((guard) => make("li", {}, linkTo(guard), ` ${textOf(guard)}: ${guard.reasons.join("; ")}`)));
    this.left.hidden = nearer.length === 0;
  }

  #assign(guard) {
    if (session.role === "viewer" || this.#alert.closed_at || this.#alert.assigned_to === guard.guard_id) return null;
    return make("button", { type: "button", "aria-label": text.assignTo(guard.guard_id), onclick: (event) => this.#send(guard, event.currentTarget) }, text.assign);
  }

  async #send(guard, pressed) {
    await busy(pressed, async () => {
      try {
        await post(`/alerts/${encodeURIComponent(this.#alert.id)}/assign`, { to: guard.guard_id });
        say(text.assigned(guard.guard_id));
      } catch (error) {
        say(text.notAssigned(error.message), { failed: true });
      }
    });
  }
}

const textOf = (guard) => `${metres(guard.distance_m)}, heard ${age(guard.recorded_at)} ago`;
