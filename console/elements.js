// Makes elements. Whatever is given as a child is text: nothing of a device's ever becomes markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map(nodeOf));
  return element;
}

const nodeOf = (child) => (child instanceof Node ? child : String(child));

// Writes only what differs: a screen reader is not told the same twice, and a selection stays.
export function write(element, text) {
  if (element.textContent !== String(text)) element.textContent = String(text);
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
