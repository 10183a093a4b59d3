// A page that is drawn again when the feed says so, and for its ages.
import { atNextFrame } from "/console/elements.js";
import { store } from "/console/store.js";

const AGES_EVERY_MS = 5000;

const LOOK_EVERY_MS = 15_000;

// `kinds`: events of the store. `look`: asks for what the feed does not tell, now and again.
export function live(title, element, kinds, render, look = () => {}) {
  const soon = atNextFrame(render);
  let timers = [];
  return {
    title,
    element,
    shown() {
      for (const kind of kinds) store.addEventListener(kind, soon);
      timers = [setInterval(render, AGES_EVERY_MS), setInterval(look, LOOK_EVERY_MS)];
      render();
      look();
      element.querySelector("h1").focus();
    },
    left() {
      for (const kind of kinds) store.removeEventListener(kind, soon);
      for (const timer of timers) clearInterval(timer);
    },
  };
}
