// How alerts were answered and messages delivered, between two days.
import { get } from "/console/api.js";
import { ageOf, dayOf, today } from "/console/clock.js";
import { make, write } from "/console/elements.js";
import { Questions } from "/console/live.js";
import { channelWord, labels, severityWord } from "/console/words.js";

const text = labels.report;
const WEEK_DAYS = 7;
const seconds = (value) => (value === null ? "-" : value < 10 ? `${value.toFixed(1)} s` : ageOf(value));
const whole = (value) => String(value ?? "-");

const ALERTS = [
  ["severity", text.severity, severityWord], ["raised", text.raised], ["accepted", text.accepted], ["accepted_within_10_s", text.within10], ["accepted_within_40_s", text.within40], ["false_alarms", text.falseAlarms],
  ["shown_p50_s", text.shown, seconds], ["notified_p50_s", text.notified, seconds], ["accepted_p50_s", text.acknowledged, seconds], ["accepted_p95_s", text.most, seconds], ["resolved_p50_s", text.resolved, seconds],
];
const DELIVERY = [
  ["channel", text.channel, channelWord], ["made", text.made], ["accepted", text.accepted], ["delivered", text.delivered], ["failed", text.failed], ["unknown", text.unknown], ["withdrawn", text.withdrawn], ["under_way", text.underWay], ["possible_duplicates", text.twice],
  ["accepted_p95_s", text.mostAccepted, seconds],
];

export function reportPage() {
  const dates = [text.since, text.until].map((word, at) => [word, make("input", { type: "date", required: true, value: at === 0 ? daysAgo(WEEK_DAYS) : today() })]);
  const [from, to] = dates.map(([, input]) => input);
  const problem = make("p", { role: "alert" });
  const found = make("div");
  const loads = new Questions();
  const load = async () => {
    const question = loads.ask();
    try {
      const query = new URLSearchParams({ since: dayOf(from.value).since.toISOString(), until: dayOf(to.value).until.toISOString() });
      const report = await get(`/report?${query}`);
      if (!loads.isNewest(question)) return; // other days are asked for by now
      found.replaceChildren(...partsOf(report));
      write(problem, "");
    } catch (error) {
      if (loads.isNewest(question)) write(problem, text.missing(error.message));
    }
  };
  const form = make("form", { class: "sum", onsubmit: (event) => { event.preventDefault(); load(); } },
    ...dates.map(([word, input]) => make("label", {}, word, input)), make("button", { type: "submit", class: "primary" }, text.show));
  const element = make("article", {}, make("h1", { tabindex: "-1" }, text.heading), form, problem, found);
  return {
    title: text.title, element, left() {},
    shown() {
      element.querySelector("h1").focus();
      load();
    },
  };
}

function daysAgo(days) {
  const [year, month, day] = today().split("-").map(Number);
  const at = new Date(Date.UTC(year, month - 1, day - days));
  return at.toISOString().slice(0, 10);
}

function partsOf(report) {
  const rate = report.alarms_per_operator_hour;
  const desk = text.desk(report.operators, report.operator_hours.toFixed(1), rate === null ? null : rate.toFixed(1));
  return [
    make("p", {}, desk),
    ...section(text.alerts, ALERTS, report.alerts), ...section(text.messages, DELIVERY, report.delivery),
    ...(report.drills.alerts.length ? [...section(text.drillAlerts, ALERTS, report.drills.alerts), ...section(text.drillMessages, DELIVERY, report.drills.delivery)] : []),
  ];
}

function section(title, columns, rows) {
  const id = `report-${title.toLowerCase().replaceAll(/\W+/g, "-")}`;
  const heads = columns.map(([, word], at) => make("th", { scope: "col", class: at ? "number" : null }, word));
  const body = rows.map((row) => make("tr", {}, ...columns.map(([name, , show = whole], at) => make(at ? "td" : "th", at ? { class: "number" } : { scope: "row" }, show(row[name])))));
  const table = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": id }, make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...body)));
  return [make("section", {}, make("h2", { id }, title), rows.length ? table : make("p", { class: "quiet" }, text.none))];
}
