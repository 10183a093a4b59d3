// What a guard's track came to: entries, exits, violations, each with its reasons in plain words when asked.
import { get } from "/console/api.js";
import { moment } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { Questions } from "/console/live.js";
import { labels, word } from "/console/words.js";

const MOST = 100;
const LOOK_AGAIN_MS = 15_000;

export class TransitionList {
  #wanted = null;
  #shown = "";
  #timer = null;
  #choices = new Questions();
  #onTime;

  // `onTime` gets the time of the one that is chosen.
  constructor(onTime) {
    this.#onTime = onTime;
    this.list = make("ol", { class: "transitions" });
    this.none = make("p", { class: "quiet" }, labels.transitions.none);
    this.why = make("p", { role: "status" });
    this.element = make("section", {}, make("h2", {}, labels.transitions.title), this.list, this.none, this.why);
  }

  show(guardId, period) {
    this.#wanted = new URLSearchParams({ guard_id: guardId, since: period.since.toISOString(), until: period.until.toISOString(), limit: MOST });
    this.#choices.ask(); // the reasons that were asked for before are of another day
    write(this.why, "");
    this.#load();
  }

  start() {
    this.#timer = setInterval(() => this.#load(), LOOK_AGAIN_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  async #load() {
    const wanted = this.#wanted;
    try {
      const found = await get(`/transitions?${wanted}`);
      if (this.#wanted === wanted) this.#place(found);
    } catch (error) {
      if (this.#wanted !== wanted) return;
      write(this.none, labels.common.notUpToDate(error.message));
      this.none.hidden = false;
    }
  }

  #place(found) {
    const shown = found.map(({ transition_id }) => transition_id).join();
    write(this.none, labels.transitions.none);
    this.none.hidden = found.length > 0;
    if (this.#shown === shown) return;
    this.#shown = shown;
    this.list.replaceChildren(...found.map((one) => make("li", {},
      make("button", { type: "button", onclick: () => this.#choose(one) }, moment(one.at)),
      ` ${word(one.kind)}${one.zone_name ? `: ${one.zone_name}` : ""}${one.late ? labels.transitions.late : ""}`)));
  }

  async #choose(one) {
    this.#onTime(one.at);
    const choice = this.#choices.ask();
    try {
      const { why } = await get(`/transitions/${encodeURIComponent(one.transition_id)}`);
      if (this.#choices.isNewest(choice)) write(this.why, why);
    } catch (error) {
      if (this.#choices.isNewest(choice)) write(this.why, labels.transitions.noReason(error.message));
    }
  }
}
