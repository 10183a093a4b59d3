// The words of a zone: name, kind, whom it is for. What the server refuses stands beside the field that it names.
import { field, fieldNamed } from "/console/fields.js";
import { busy, make, write } from "/console/elements.js";
import { EMPTY, areaOf, cornersFrom, isPlain, textOf, withCircle, withCorners } from "/console/outline.js";
import { store } from "/console/store.js";
import { Trial } from "/console/trial.js";
import { labels, zoneKindWord } from "/console/words.js";

const KINDS = ["required", "forbidden", "speed"].map((kind) => [kind, zoneKindWord(kind)]);
const SUGGESTED = 200;
const NOBODY = "";

const numberOf = (input) => (input.value.trim() === "" ? null : Number(input.value));
const idOf = (input) => (input.value === NOBODY ? null : Number(input.value));

// One form for one opening of one zone: what its buttons begin ends in this form, and never in the one that is open by then.
export class ZoneForm {
  #zone;
  #places;
  #drawing;
  #typing = false;
  #drawn = () => this.#showOutline();

  // `drawing`: where the outline comes from and goes to. `zone`: null for a new one; `places`: sites and groups, rows of
  // the register. `onSave` gets this form and the zone's fields; `onCancel` gets this form.
  constructor(drawing, zone, places, { onSave, onCancel }) {
    this.#drawing = drawing;
    this.#zone = zone;
    this.#places = places;
    this.title = make("h2", { tabindex: "-1", id: "zone-title" });
    this.fields = this.#makeFields();
    this.problem = make("p", { role: "alert" });
    this.save = make("button", { type: "submit", class: "primary" }, labels.zoneForm.save);
    this.trial = new Trial();
    this.try = make("button", { type: "button", onclick: () => this.#send(this.try, (words, shape) => this.#tryOut(words, shape)) }, labels.zoneForm.tryOut);
    const suggestions = make("datalist", { id: "zone-guards" });
    this.element = make("form", { "aria-labelledby": "zone-title", novalidate: true },
      this.title, ...Object.values(this.fields).map(({ row }) => row), suggestions, this.problem,
      make("p", { class: "buttons" }, this.save, this.try, make("button", { type: "button", onclick: () => onCancel(this) }, labels.actions.cancel)), this.trial.element);
    this.element.addEventListener("focusin", () => suggestions.replaceChildren(...[...store.guards.keys()].slice(0, SUGGESTED).map((value) => make("option", { value }))));
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.save, (words, shape) => onSave(this, { ...words, ...shape }));
    });
    drawing.addEventListener("changed", this.#drawn);
    this.#fill();
  }

  get zone() {
    return this.#zone;
  }

  // The form is gone from the page, and the drawing no longer its own.
  close() {
    this.#drawing.removeEventListener("changed", this.#drawn);
    this.element.remove();
  }

  #makeFields() {
    const kind = make("select", { onchange: () => this.#showKind() }, ...KINDS.map(([value, word]) => make("option", { value }, word)));
    const numbers = { type: "number", step: "any", autocomplete: "off" };
    return {
      name: field(labels.zoneForm.name, make("input", { maxlength: 200, autocomplete: "off" })),
      kind: field(labels.zoneForm.kind, kind),
      speed_limit_mps: field(labels.zoneForm.limit, make("input", { ...numbers, min: 0 })),
      site_id: field(labels.zoneForm.site, make("select")),
      guard_id: field(labels.zoneForm.guard, make("input", { list: "zone-guards", maxlength: 200, autocomplete: "off" }), labels.zoneForm.guardHint),
      group_id: field(labels.zoneForm.group, make("select")),
      enabled: field(labels.zoneForm.enabled, make("input", { type: "checkbox" })),
      radius_m: field(labels.zoneForm.radius, make("input", { ...numbers, min: 0, oninput: () => this.#typeRadius() })),
      area: field(labels.zoneForm.corners, make("textarea", { rows: 5, oninput: () => this.#typeCorners() }), labels.zoneForm.cornersHint),
    };
  }

  #fill() {
    const zone = this.#zone;
    const { sites, groups } = this.#places;
    const { name, kind, speed_limit_mps, site_id, guard_id, group_id, enabled } = zone ?? { name: "", kind: "required", enabled: true };
    choices(this.fields.site_id.input, labels.zoneForm.none, sites.map((site) => [site.site_id, site.name]));
    choices(this.fields.group_id.input, labels.zones.everybody, groups.map((group) => [group.group_id, group.name]));
    const values = { name, kind, speed_limit_mps, site_id, guard_id, group_id };
    for (const [key, value] of Object.entries(values)) this.fields[key].input.value = value ?? "";
    this.fields.enabled.input.checked = enabled;
    this.#showKind();
    write(this.title, zone ? labels.zoneForm.title(zone.name, zone.version) : labels.zoneForm.fresh);
    this.#showOutline();
  }

  // Where a refusal belongs: beside its field, which gets the keyboard, or under all of them.
  refuse(detail) {
    const named = fieldNamed(detail, Object.keys(this.fields));
    if (named === null || this.fields[named].row.hidden) {
      write(this.problem, labels.common.notDone(detail));
      return;
    }
    this.fields[named].say(detail);
    this.fields[named].input.focus();
  }

  // Both what saves and what tries: with what the form says, when it says enough.
  async #send(pressed, act) {
    this.#clear();
    const shape = areaOf(this.#drawing.outline);
    const words = this.#words();
    if (shape === null) this.refuse(labels.zoneForm.noArea);
    else if (words.name === "") this.refuse(labels.zoneForm.noZoneName);
    else {
      await busy(pressed, async () => {
        try {
          await act(words, shape);
        } catch (error) {
          this.refuse(error.message);
        }
      });
    }
  }

  // By its name of today, so that it takes that zone's place; sites and groups go by name in a file.
  #tryOut(words, { area, radius_m }) {
    const named = (rows, key, id) => rows.find((row) => row[key] === id)?.name ?? null;
    const { site_id, group_id, guard_id, kind, speed_limit_mps, enabled } = words;
    const properties = {
      name: this.#zone?.name ?? words.name, kind, speed_limit_mps, enabled, radius_m, guard: guard_id,
      site: named(this.#places.sites, "site_id", site_id), group: named(this.#places.groups, "group_id", group_id),
      ...(this.#zone ? { schedule: this.#zone.schedule, confirmation: this.#zone.confirmation } : {}),
    };
    return this.trial.run(properties, area);
  }

  #words() {
    const { name, kind, speed_limit_mps, site_id, guard_id, group_id, enabled } = Object.fromEntries(Object.entries(this.fields).map(([key, { input }]) => [key, input]));
    return {
      name: name.value.trim(), kind: kind.value, speed_limit_mps: kind.value === "speed" ? numberOf(speed_limit_mps) : null,
      site_id: idOf(site_id), group_id: idOf(group_id), guard_id: guard_id.value.trim() || null, enabled: enabled.checked,
    };
  }

  #clear() {
    for (const { say } of Object.values(this.fields)) say("");
    write(this.problem, "");
    this.trial.clear();
  }

  #showKind() {
    this.fields.speed_limit_mps.row.hidden = this.fields.kind.input.value !== "speed";
  }

  // What is drawn stands in the fields too; what is being typed there is left as it is typed.
  #showOutline() {
    const { outline } = this.#drawing;
    this.fields.radius_m.row.hidden = outline.centre === null;
    this.fields.area.input.readOnly = !isPlain(outline) || outline.centre !== null;
    if (this.#typing) return;
    if (outline.centre) this.fields.radius_m.input.value = outline.radius_m;
    this.fields.area.input.value = textOf(outline);
    this.fields.area.say("");
  }

  #typeCorners() {
    this.#type(() => this.#drawing.set(withCorners(cornersFrom(this.fields.area.input.value))), this.fields.area);
  }

  #typeRadius() {
    this.#type(() => {
      const radius_m = numberOf(this.fields.radius_m.input);
      if (radius_m > 0) this.#drawing.set(withCircle(this.#drawing.outline.centre ?? EMPTY.centre, radius_m));
    }, this.fields.radius_m);
  }

  #type(change, { say }) {
    this.#typing = true;
    try {
      change();
      say("");
    } catch (error) {
      say(error.message);
    } finally {
      this.#typing = false;
    }
  }
}

function choices(select, none, rows) {
  select.replaceChildren(make("option", { value: NOBODY }, none), ...rows.map(([value, word]) => make("option", { value }, word)));
}
