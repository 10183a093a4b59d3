// A page that is drawn again when the feed says so, and for its ages.
import { atNextFrame } from "/console/elements.js";
import { store } from "/console/store.js";

const AGES_EVERY_MS = 5000;

// Questions to the server whose answers may overtake each other: an answer is shown only when no later one is.
export class Questions {
  #asked = 0;
  #shown = 0;

  ask() {
    this.#asked += 1;
    return this.#asked;
  }

  // For questions that differ: the answer to the newest question alone counts.
  isNewest(question) {
    return question === this.#asked;
  }

  // For one question that is asked again and again: an answer counts unless a later one is shown already.
  take(question) {
    if (question < this.#shown) return false;
    this.#shown = question;
    return true;
  }
}

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
