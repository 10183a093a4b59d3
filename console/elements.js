// Makes elements. Whatever is given as a child is text: nothing of a device's ever becomes markup.

// Characters without a shape, of which some turn the text beside them round: shown as their numbers, as on evidence
// pages (services/alerts/evidence/markup.py). The joiners U+200C and U+200D stay: words of Indian scripts and emoji need them.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
export const visible = (text) => String(text).replace(UNSEEN, (unseen) => `[U+${unseen.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);

// Attributes that are read or heard; others (value, href) stay as they are.
const SHOWN = new Set(["title", "aria-label", "aria-valuetext", "alt", "placeholder"]);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, SHOWN.has(name) ? visible(value) : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map(nodeOf));
  return element;
}

const nodeOf = (child) => (child instanceof Node ? child : visible(child));

// Writes only what differs: a screen reader is not told the same twice, and a selection stays.
export function write(element, text) {
  const shown = visible(text);
  if (element.textContent !== shown) element.textContent = shown;
}

// A button does one thing at a time. It is not disabled meanwhile: that would take the keyboard from it.
export async function busy(button, work) {
  if (button?.ariaDisabled === "true") return undefined;
  if (button) button.ariaDisabled = "true";
  try {
    return await work();
  } finally {
    if (button) button.ariaDisabled = null;
  }
}

// Puts other children into an element; what had the keyboard gives it to what is called the same by `nameOf` now.
export function refill(element, children, nameOf, fallback) {
  const held = element.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  element.replaceChildren(...children);
  if (held === null) return;
  const same = [...element.querySelectorAll("a, button")].find((child) => nameOf(child) === held);
  (same ?? fallback).focus();
}

// Calls `render` at the next frame, once, however often it is asked before.
export function atNextFrame(render) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      render();
    });
  };
}
