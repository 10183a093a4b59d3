// The desk: the queue, and the map beside it. Made once: whoever comes back finds it as it was left.
import { make } from "/console/elements.js";
import { LiveMap } from "/console/map.js";
import { Queue } from "/console/queue.js";
import { labels } from "/console/words.js";

let desk = null;

export function deskPage() {
  if (desk === null) {
    const map = new LiveMap();
    const queue = new Queue((alert) => map.follow(alert));
    const element = make("div", { id: "desk" }, make("h1", { class: "hidden" }, labels.desk.title), make("div", { class: "halves" }, queue.element, map.element));
    desk = { element, map, queue, started: false };
  }
  return {
    title: labels.desk.title,
    element: desk.element,
    shown() {
      if (!desk.started) desk.map.start();
      desk.started = true;
      desk.queue.focus();
    },
    left() {},
  };
}
