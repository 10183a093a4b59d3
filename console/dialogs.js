// Questions in front of the page. A session that ends sets them aside: whoever logs in again finds what they had typed.
const aside = new Set();

// Resolves when the dialog is closed, by a person.
export function ask(dialog) {
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      if (aside.has(dialog)) return;
      dialog.remove();
      resolve();
    });
  });
}

export function setAside() {
  for (const dialog of document.querySelectorAll("dialog[open]")) {
    aside.add(dialog);
    dialog.close();
  }
}

export function bringBack() {
  for (const dialog of aside) {
    aside.delete(dialog);
    dialog.showModal();
  }
}

// Somebody else is here: what was asked of the one before is not answered.
export function giveUp() {
  for (const dialog of aside) {
    aside.delete(dialog);
    dialog.dispatchEvent(new Event("close"));
  }
}
