// Devices as a list, and one of them with its charts of battery and signal.
import { get, list } from "/console/api.js";
import { age, moment, now } from "/console/clock.js";
import { Chart } from "/console/charts.js";
import { make, write } from "/console/elements.js";
import { Questions, live } from "/console/live.js";
import { byName } from "/console/names.js";
import { inOrder, whoHas } from "/console/queue.js";
import { store } from "/console/store.js";
import { graveTitle, labels, word } from "/console/words.js";

const text = labels.devices;
const SHOWN = 200;
const MOST_READINGS = 1000;
const IN_TABLE = 50;
const HOURS = text.hours;
const CHARTS = [["battery", text.battery, "%", [0, 100]], ["signal", text.signal, "dBm", [-120, 0]]];

export function devicesPage() {
  const body = make("tbody");
  const rest = make("p", { class: "quiet" });
  const wanted = make("input", { type: "search", autocomplete: "off" });
  const problem = make("p", { role: "alert" });
  const heads = text.heads.map((name) => make("th", { scope: "col" }, name));
  const element = make("article", {}, make("h1", { tabindex: "-1" }, text.title), problem, make("label", { class: "narrow" }, labels.common.find, wanted),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": text.list }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body), rest));
  const render = () => {
    const found = [...store.devices.values()].filter(({ source_id, kind }) => kind !== "guard" && source_id.toLowerCase().includes(wanted.value.trim().toLowerCase()));
    found.sort((a, b) => (b.conditions?.length ?? 0) - (a.conditions?.length ?? 0) || byName(a.source_id, b.source_id));
    if (!body.contains(document.activeElement)) body.replaceChildren(...found.slice(0, SHOWN).map(rowOf));
    write(rest, found.length > SHOWN ? labels.common.more(found.length - SHOWN) : found.length === 0 ? text.none : "");
  };
  wanted.addEventListener("input", render);
  return live(text.title, element, ["devices"], render, () => learnStates(problem));
}

async function learnStates(problem) {
  try {
    store.learn(await list("/device-states"));
    write(problem, "");
  } catch (error) {
    write(problem, text.notUpToDate(error.message));
  }
}

// Of a device that was heard since its newest reading only the feed knows.
const heardOf = ({ recorded_at, last_at }) => [recorded_at, last_at].filter((at) => at).sort((a, b) => Date.parse(a) - Date.parse(b)).at(-1);

function rowOf(state) {
  const link = make("a", { href: `#/devices/${encodeURIComponent(state.source_id)}` }, state.source_id);
  const heard = heardOf(state);
  const values = [link, word(state.family ?? state.kind), state.state ? word(state.state) : "-", heard ? `${age(heard)} ago` : "-", (state.conditions ?? []).map(word).join(", ") || "-", readingOf(state.reading ?? {})];
  return make("tr", {}, ...values.map((value) => make("td", {}, value)));
}

const readingOf = (values) => Object.entries(values).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${value}`).join(", ") || "-";

export function devicePage(id) {
  const page = new DevicePage(id);
  return { title: id, element: page.element, shown: () => page.start(), left: () => page.stop() };
}

class DevicePage {
  #id;
  #live;
  #loads = new Questions();

  constructor(id) {
    this.#id = id;
    this.facts = make("dl", { class: "facts" });
    this.alerts = make("ul");
    this.none = make("p", { class: "quiet" }, labels.common.noOpenAlert);
    this.problem = make("p", { role: "alert" });
    this.count = make("p", { class: "quiet" });
    this.hours = make("select", { onchange: () => this.#load() }, ...HOURS.map(([value, word]) => make("option", { value, selected: value === 24 }, word)));
    this.charts = CHARTS.map(([name, title, unit, range]) => [name, new Chart(title, unit, range)]);
    this.body = make("tbody");
    const heads = text.readingHeads.map((name) => make("th", { scope: "col" }, name));
    this.element = make("article", {}, make("p", {}, make("a", { href: "#/devices" }, text.all)), make("h1", { tabindex: "-1" }, id), this.problem,
      make("div", { class: "sides" },
        make("div", {}, this.facts, make("section", {}, make("h2", {}, labels.common.openAlerts), this.alerts, this.none)),
        make("section", { "aria-labelledby": "readings-title" }, make("h2", { id: "readings-title" }, text.readings), make("label", { class: "inline" }, text.ofTheLast, this.hours), this.count,
          ...this.charts.map(([, chart]) => chart.element),
          make("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": text.newest }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), this.body)))));
    this.#live = live(id, this.element, ["devices", "alerts"], () => this.#render(), () => this.#look());
  }

  start() {
    for (const [, chart] of this.charts) chart.start();
    this.#live.shown();
  }

  stop() {
    this.#live.left();
    for (const [, chart] of this.charts) chart.stop();
  }

  #render() {
    const state = store.devices.get(this.#id);
    this.facts.replaceChildren(...(state ? factsOf(state) : [[text.state, text.never]]).flatMap(([head, value]) => [make("dt", {}, head), make("dd", {}, value)]));
    const own = inOrder([...store.alerts.values()].filter(({ source_id }) => source_id === this.#id));
    const shown = own.map((alert) => `${alert.id} ${alert.status}`).join();
    this.none.hidden = own.length > 0;
    if (this.alerts.dataset.shown === shown) return;
    this.alerts.dataset.shown = shown;
    this.alerts.replaceChildren(...own.map((alert) => make("li", {}, make("a", { href: `#/alerts/${alert.id}` }, graveTitle(alert)), ` ${whoHas(alert)}`)));
  }

  async #look() {
    await this.#load();
    if (this.problem.textContent === "") await learnStates(this.problem);
  }

  async #load() {
    const question = this.#loads.ask();
    const until = new Date(now() + 60_000); // what came this moment, by a clock that goes a little fast
    const since = new Date(until.getTime() - Number(this.hours.value) * 3_600_000);
    const query = new URLSearchParams({ since: since.toISOString(), until: until.toISOString(), limit: MOST_READINGS });
    try {
      const readings = await get(`/devices/${encodeURIComponent(this.#id)}/readings?${query}`);
      if (!this.#loads.isNewest(question)) return; // other hours are asked for by now
      this.#show(readings);
      write(this.problem, "");
    } catch (error) {
      if (this.#loads.isNewest(question)) write(this.problem, text.notUpToDate(error.message));
    }
  }

  #show(readings) {
    write(this.count, readings.length === MOST_READINGS ? text.newestOf(MOST_READINGS) : text.readingsOf(readings.length));
    for (const [name, chart] of this.charts) {
      const rows = readings.filter(({ values }) => Number.isFinite(values[name])).map((reading) => [Date.parse(reading.recorded_at) / 1000, reading.values[name]]);
      chart.element.hidden = rows.length === 0;
      if (rows.length) chart.show(rows.toReversed());
    }
    const rows = readings.slice(0, IN_TABLE).map((reading) => [moment(reading.recorded_at), readingOf(reading.values), reading.clock_suspect ? text.clockBad : text.clockGood]);
    this.body.replaceChildren(...rows.map((row) => make("tr", {}, ...row.map((value) => make("td", {}, value)))));
  }
}

function factsOf(state) {
  const heard = heardOf(state);
  return [
    [text.family, word(state.family ?? state.kind ?? "-")],
    [text.state, state.state ? word(state.state) : "-"],
    [labels.common.deviceTime, heard ? `${moment(heard)} (${age(heard)} ago)` : "-"],
    [text.reading, readingOf(state.reading ?? {})],
    [text.conditions, (state.conditions ?? []).map(word).join(", ") || text.noConditions],
  ];
}
