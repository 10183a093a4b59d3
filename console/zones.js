// Zones: a list, a map, and a form. A supervisor draws and edits them; the others see them.
import { say } from "/console/actions.js";
import { list, patch, post } from "/console/api.js";
import { Drawing } from "/console/drawing.js";
import { make, write } from "/console/elements.js";
import { draftLayers } from "/console/layers.js";
import { Questions } from "/console/live.js";
import { EMPTY, cornersOf, outlineOf } from "/console/outline.js";
import { PageMap } from "/console/pagemap.js";
import { session } from "/console/session.js";
import { labels, word } from "/console/words.js";
import { ZoneForm } from "/console/zoneform.js";

const text = labels.zones;
const EDITORS = new Set(["supervisor", "admin", "platform"]);

export function zonesPage(id = null) {
  const page = new ZonesPage(id === null ? null : Number(id));
  return { title: text.title, element: page.element, shown: () => page.start(), left: () => page.stop() };
}

class ZonesPage {
  #zones = [];
  #places = { sites: [], groups: [] };
  #wanted;
  #map = new PageMap({ sources: { zones: {}, sites: {}, draft: {}, handles: {} }, layers: draftLayers });
  #drawing = new Drawing(this.#map);
  #form = null; // the one that is open
  #touched = false; // a person has opened or begun something here
  #loads = new Questions();

  // `wanted`: the zone to begin with, by its id.
  constructor(wanted) {
    this.#wanted = wanted;
    this.mayEdit = EDITORS.has(session.role);
    this.body = make("tbody");
    this.problem = make("p", { role: "alert" });
    this.doing = make("p", { class: "hint", role: "status" });
    this.forms = make("div");
    this.finish = make("button", { type: "button", onclick: () => this.#drawing.finish() }, text.finish);
    const begin = (kind, word) => make("button", { type: "button", onclick: () => this.#begin(kind) }, word);
    this.tools = make("p", { class: "buttons" }, begin("polygon", text.polygon), begin("circle", text.circle), this.finish);
    this.tools.hidden = !this.mayEdit;
    const heads = text.heads.map((name) => make("th", { scope: "col" }, name));
    this.listed = make("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": text.list }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), this.body));
    this.element = make("article", {}, make("h1", { tabindex: "-1" }, text.title), this.problem,
      make("div", { class: "sides" }, make("div", {}, this.listed, this.forms), make("section", { "aria-label": text.map }, this.tools, this.doing, this.#map.canvas)));
    this.#drawing.addEventListener("changed", () => this.#tell());
    this.element.addEventListener("keydown", (event) => this.#press(event));
    this.#tell();
  }

  async start() {
    this.element.querySelector("h1").focus();
    const [opened] = await Promise.all([this.#map.open(), this.#load()]);
    if (!opened) return;
    this.#map.map.doubleClickZoom.disable(); // a double click ends a polygon
    this.#drawing.listen();
    await this.#drawPlaces();
    if (this.#touched) return; // while the map came: what a person has begun stays, and so does the view
    this.#open(this.#zones.find(({ zone_id }) => zone_id === this.#wanted));
    if (!this.#drawing.outline.centre && cornersOf(this.#drawing.outline).length === 0) this.#map.fit(this.#zones.flatMap(placesOf));
  }

  stop() {
    this.#map.close();
  }

  async #load() {
    const question = this.#loads.ask();
    try {
      const [zones, sites, groups] = await Promise.all([list("/zones"), list("/sites"), list("/groups")]);
      if (!this.#loads.take(question)) return;
      this.#zones = zones;
      this.#places = { sites, groups };
      this.body.replaceChildren(...zones.map((zone) => this.#row(zone)));
      write(this.problem, zones.length ? "" : text.none);
    } catch (error) {
      write(this.problem, text.notUpToDate(error.message));
    }
  }

  #row(zone) {
    const group = this.#places.groups.find(({ group_id }) => group_id === zone.group_id)?.name;
    const whom = [zone.guard_id, group].filter((name) => name).join(", ") || text.everybody;
    const open = make("button", { type: "button", class: "plain", onclick: () => { this.#touched = true; this.#open(zone); } }, zone.name);
    const kind = zone.kind === "speed" ? text.speed(word(zone.kind), zone.speed_limit_mps) : word(zone.kind);
    return make("tr", { "data-zone": zone.zone_id }, ...[open, kind, whom, zone.enabled ? text.enabled : text.disabled].map((value) => make("td", {}, value)));
  }

  async #drawPlaces() {
    try {
      await this.#map.drawPlaces();
    } catch (error) {
      write(this.problem, labels.common.notDrawn(error.message));
    }
  }

  #open(zone) {
    if (!zone) return;
    this.#drawing.finish();
    this.#drawing.set(outlineOf(zone));
    this.#map.fit(placesOf(zone));
    if (!this.mayEdit) return;
    this.#show(zone);
    this.#form.title.focus();
  }

  #begin(kind) {
    this.#touched = true;
    this.#show(null);
    this.#drawing.begin(kind);
    this.#map.map?.getCanvas().focus();
  }

  #show(zone) {
    this.#form?.close();
    this.#form = new ZoneForm(this.#drawing, zone, this.#places, { onSave: (form, fields) => this.#save(form, fields), onCancel: (form) => this.#close(form) });
    this.forms.replaceChildren(this.#form.element);
  }

  // Closes this form and clears its drawing. When another form is open by now, that form and its drawing stay.
  #close(form) {
    if (form !== this.#form) return;
    this.#form = null;
    form?.close();
    this.#drawing.finish();
    this.#drawing.set(EMPTY);
  }

  // Raises `ApiError`. Whoever changed it meanwhile is not overwritten: the server refuses another version.
  async #save(form, fields) {
    const { zone } = form;
    try {
      if (zone === null) await post("/zones", fields);
      else await patch(`/zones/${zone.zone_id}`, { changes: fields, version: zone.version });
    } catch (error) {
      if (form === this.#form) throw error; // beside the field that it names
      say(text.notSaved(fields.name, error.message), { failed: true });
      return;
    }
    say(text.saved(fields.name));
    try {
      await this.#load(); // before the form goes: whoever opens the zone from the list again must not get the old version
      await this.#drawPlaces();
    } finally {
      this.#close(form);
    }
  }

  #tell() {
    const { drawing, outline } = this.#drawing;
    const corners = cornersOf(outline).length;
    this.finish.hidden = drawing !== "polygon";
    this.finish.disabled = corners < 3;
    if (drawing === "circle") write(this.doing, text.centre);
    else if (drawing === "polygon") write(this.doing, corners === 0 ? text.firstCorner : text.nextCorner(corners));
    else write(this.doing, "");
  }

  #press(event) {
    if (!this.#drawing.drawing || event.target.closest("input, textarea, select, button")) return;
    if (event.key === "Enter") this.#drawing.finish();
    else if (event.key === "Escape") this.#close(this.#form);
  }
}

function placesOf(zone) {
  const { polygons, centre, radius_m } = outlineOf(zone);
  if (!centre) return polygons.flat(2);
  const reach = radius_m / 111_195;
  return [[centre[0] - reach, centre[1] - reach], [centre[0] + reach, centre[1] + reach]];
}
