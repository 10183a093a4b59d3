// "Try it on last week": what the zone that is drawn would have made of the tracks of the last seven days.
import { post } from "/console/api.js";
import { ageOf, moment } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { labels, word } from "/console/words.js";

const MOST_GUARDS = 20;
const MOST_MOMENTS = 5;

export class Trial {
  constructor() {
    this.said = make("p", { role: "status" });
    this.list = make("ul");
    this.element = make("div", { class: "trial" }, this.said, this.list);
  }

  clear() {
    write(this.said, "");
    this.list.replaceChildren();
  }

  // Raises `ApiError`. `properties` and `geometry` as a file of zones has them.
  async run(properties, geometry) {
    this.clear();
    write(this.said, labels.trial.running);
    const document = JSON.stringify({ type: "FeatureCollection", features: [{ type: "Feature", properties, geometry }] });
    try {
      this.#show(await post("/zones/try", { document }));
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  #show({ fixes, guards_judged: judged, guards }) {
    const of = labels.trial.of(fixes, judged);
    write(this.said, guards.length ? labels.trial.different(of, guards.length) : labels.trial.same(of));
    const more = guards.length > MOST_GUARDS ? [make("li", {}, labels.trial.rest(guards.length - MOST_GUARDS))] : [];
    this.list.replaceChildren(...guards.slice(0, MOST_GUARDS).map(itemOf), ...more);
  }
}

const timeOf = ({ count, seconds }) => labels.trial.violations(count, ageOf(seconds));

function itemOf(guard) {
  const moments = [...guard.gained.map((one) => [labels.trial.gained, one]), ...guard.lost.map((one) => [labels.trial.lost, one])].slice(0, MOST_MOMENTS);
  const lines = moments.map(([change, one]) => make("li", {}, `${change}: ${moment(one.at)} ${word(one.kind)} ${one.zone}. ${one.why}`));
  return make("li", {},
    make("a", { href: `#/guards/${encodeURIComponent(guard.guard_id)}` }, guard.guard_id),
    labels.trial.guard(timeOf(guard.violations_edited), timeOf(guard.violations_today), guard.gained_count, guard.lost_count, guard.shifted_count),
    make("ul", {}, ...lines));
}
