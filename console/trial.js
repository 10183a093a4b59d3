// "Try it on last week": what the zone that is drawn would have made of the tracks of the last seven days.
import { post } from "/console/api.js";
import { ageOf, moment } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { word } from "/console/words.js";

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
    write(this.said, "The last week is being evaluated.");
    const document = JSON.stringify({ type: "FeatureCollection", features: [{ type: "Feature", properties, geometry }] });
    try {
      this.#show(await post("/zones/try", { document }));
    } catch (error) {
      this.clear();
      throw error;
    }
  }

  #show({ fixes, guards_judged: judged, guards }) {
    const of = `${fixes} fixes of ${judged} guard${judged === 1 ? "" : "s"}`;
    write(this.said, guards.length ? `Of ${of}, it would have been different for ${guards.length}:` : `Nothing would have been different, of ${of}.`);
    const more = guards.length > MOST_GUARDS ? [make("li", {}, `${guards.length - MOST_GUARDS} more; \`vigil zone try\` lists all.`)] : [];
    this.list.replaceChildren(...guards.slice(0, MOST_GUARDS).map(itemOf), ...more);
  }
}

const timeOf = ({ count, seconds }) => `${count} violation${count === 1 ? "" : "s"}${count ? ` (${ageOf(seconds)})` : ""}`;

function itemOf(guard) {
  const moments = [...guard.gained.map((one) => ["new", one]), ...guard.lost.map((one) => ["gone", one])].slice(0, MOST_MOMENTS);
  const lines = moments.map(([change, one]) => make("li", {}, `${change}: ${moment(one.at)} ${word(one.kind)} ${one.zone}. ${one.why}`));
  return make("li", {},
    make("a", { href: `#/guards/${encodeURIComponent(guard.guard_id)}` }, guard.guard_id),
    ` ${timeOf(guard.violations_edited)} in place of ${timeOf(guard.violations_today)}; ${guard.gained_count} new, ${guard.lost_count} gone, ${guard.shifted_count} at another time.`,
    make("ul", {}, ...lines));
}
