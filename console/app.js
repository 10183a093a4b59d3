// The shell: log-in, which page is shown, and what stands around it. The address says the page: #/desk, #/alerts/<id>.
import { alertPage } from "/console/alert.js";
import { deskPage } from "/console/desk.js";
import { devicePage, devicesPage } from "/console/device.js";
import { bringBack, giveUp, setAside } from "/console/dialogs.js";
import { write } from "/console/elements.js";
import { startFreshness } from "/console/freshness.js";
import { guardPage } from "/console/guard.js";
import { guardsPage } from "/console/guards.js";
import { startKeys } from "/console/keys.js";
import { link } from "/console/link.js";
import { messagesPage } from "/console/messages.js";
import { reportPage } from "/console/report.js";
import { session } from "/console/session.js";
import { allowSound, startSound } from "/console/sound.js";
import { startTheme } from "/console/theme.js";
import { capital, labels, word } from "/console/words.js";
import { zonesPage } from "/console/zones.js";

const PAGES = [
  [/^#\/desk$/, () => deskPage()],
  [/^#\/alerts\/([^/]+)$/, (id) => alertPage(id)],
  [/^#\/guards$/, () => guardsPage()],
  [/^#\/guards\/([^/]+)$/, (id) => guardPage(id)],
  [/^#\/devices$/, () => devicesPage()],
  [/^#\/devices\/([^/]+)$/, (id) => devicePage(id)],
  [/^#\/report$/, () => reportPage()],
  [/^#\/messages$/, () => messagesPage()],
  [/^#\/zones$/, () => zonesPage()],
  [/^#\/zones\/([0-9]+)$/, (id) => zonesPage(id)],
];
const START = "#/desk";
const byId = (id) => document.getElementById(id);

let shown = null; // the page
let whose = null; // the session that is open, or was
let left = null; // where it ended, and what had the keyboard

function route() {
  if (!session.open) return;
  const hash = PAGES.some(([pattern]) => pattern.test(location.hash)) ? location.hash : START;
  if (hash !== location.hash) history.replaceState(null, "", hash);
  const [pattern, make] = PAGES.find(([candidate]) => candidate.test(hash));
  const page = make(...pattern.exec(hash).slice(1).map(decodeURIComponent));
  shown?.left();
  shown = page;
  byId("page").replaceChildren(page.element);
  for (const anchor of byId("nav").querySelectorAll("a")) {
    if (hash.startsWith(anchor.hash)) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  page.shown();
}

// What was on the screen stays in the page, unseen: whoever logs in again finds it as it was.
function showSession() {
  byId("login").hidden = session.open;
  byId("page").hidden = !session.open;
  byId("nav").hidden = !session.open;
  byId("person").hidden = !session.open;
  write(byId("who"), session.open ? `${session.name} (${word(session.role)})` : "");
}

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  write(byId("login-error"), "");
  allowSound();
  try {
    await session.logIn(byId("user").value, byId("password").value);
    byId("password").value = "";
  } catch (error) {
    write(byId("login-error"), capital(error.message));
  }
});

byId("logout").addEventListener("click", async () => {
  try {
    await session.logOut();
  } catch (error) {
    write(byId("login-error"), labels.session.notLoggedOut(error.message));
  }
});

// Whoever logs in again goes on where they were, with what they had drawn or typed; anybody else begins anew.
session.addEventListener("opened", () => {
  showSession();
  link.start();
  const before = whose;
  whose = JSON.stringify([session.name, session.role, session.tenantId]);
  if (before === whose && left?.hash === location.hash) {
    (byId("page").contains(left.focused) ? left.focused : byId("page").querySelector("h1"))?.focus();
    bringBack();
  } else {
    giveUp();
    route();
  }
});

session.addEventListener("ended", ({ detail }) => {
  left = { hash: location.hash, focused: document.activeElement };
  link.stop();
  setAside();
  showSession();
  write(byId("login-error"), detail);
  byId("user").focus();
});

window.addEventListener("hashchange", route);
startTheme(byId("theme"));
startKeys(byId("keys-button"));
startFreshness();
startSound();
showSession();
byId("user").focus();
