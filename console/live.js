// A page that is drawn again when the feed says so, and for its ages.
import { atNextFrame } from "/console/elements.js";
import { store } from "/console/store.js";

const AGES_EVERY_MS = 5000;

// `kinds`: events of the store.
export function live(title, element, kinds, render) {
  const soon = atNextFrame(render);
  let timer = null;
  return {
    title,
    element,
    shown() {
      for (const kind of kinds) store.addEventListener(kind, soon);
      timer = setInterval(render, AGES_EVERY_MS);
      render();
      element.querySelector("h1").focus();
    },
    left() {
      for (const kind of kinds) store.removeEventListener(kind, soon);
      clearInterval(timer);
    },
  };
}
