// What went wrong on the way: messages of devices that were refused, and messages between services that were given up
// on, which an admin sends again or lets go.
import { say } from "/console/actions.js";
import { get, list, post, remove } from "/console/api.js";
import { moment } from "/console/clock.js";
import { ask } from "/console/dialogs.js";
import { busy, make, write } from "/console/elements.js";
import { Questions } from "/console/live.js";
import { session } from "/console/session.js";
import { labels, refusalWord } from "/console/words.js";

const text = labels.messages;
const MOST = 200;
const SHOWN_BYTES = 2000;
const SUPERVISORS = new Set(["supervisor", "admin", "platform"]);
const ADMINS = new Set(["admin", "platform"]);

export function messagesPage() {
  const page = new MessagesPage();
  return { title: text.title, element: page.element, shown: () => page.start(), left() {} };
}

class MessagesPage {
  constructor() {
    this.rejected = tablePart("rejected", text.rejected, text.rejectedHeads);
    this.letters = tablePart("letters", text.letters, text.letterHeads);
    this.element = make("article", {}, make("h1", { tabindex: "-1" }, text.title), make("p", { class: "buttons" }, make("button", { type: "button", onclick: () => this.#load() }, text.refresh)), this.letters.element, this.rejected.element);
  }

  start() {
    this.element.querySelector("h1").focus();
    this.#load();
  }

  #load() {
    this.#fill(this.rejected, SUPERVISORS, async () => (await list("/rejected-messages", { most: MOST })).slice(0, MOST).map(rejectedRow), "supervisor");
    this.#fill(this.letters, ADMINS, async () => (await get(`/dead-letters?limit=${MOST}`)).map((letter) => this.#letterRow(letter)), "admin");
  }

  async #fill({ body, table, note, loads }, roles, rows, role) {
    const question = loads.ask();
    if (!roles.has(session.role)) {
      table.hidden = true;
      write(note, text.onlyFor(role));
      return;
    }
    try {
      const found = await rows();
      if (!loads.take(question)) return; // what was let go meanwhile must not come back
      body.replaceChildren(...found);
      table.hidden = body.rows.length === 0;
      write(note, body.rows.length === 0 ? text.none : body.rows.length >= MOST ? text.first(MOST) : "");
    } catch (error) {
      if (loads.take(question)) write(note, labels.common.notUpToDate(error.message));
    }
  }

  #letterRow(letter) {
    const path = `/dead-letters/${encodeURIComponent(letter.id)}`;
    const repair = make("div", { class: "buttons" },
      make("button", { type: "button", "aria-label": `${text.retry}: ${letter.id}`, onclick: (event) => this.#settle(event, () => post(`${path}/retry`), text.retried) }, text.retry),
      make("button", { type: "button", "aria-label": `${text.discard}: ${letter.id}`, onclick: (event) => this.#discard(event, path) }, text.discard));
    const reason = refusalWord(letter.reason);
    const why = letter.error ? `${reason}: ${letter.error}` : reason;
    return rowOf(moment(letter.last_tried_at), letter.queue, why, letter.sources.join(", ") || "-", letter.tries, repair);
  }

  async #discard(event, path) {
    const pressed = { currentTarget: event.currentTarget };
    if (await isSure(text.sure, text.discard)) this.#settle(pressed, () => remove(path), text.discarded);
  }

  async #settle({ currentTarget }, send, done) {
    await busy(currentTarget, async () => {
      try {
        await send();
        say(`${done}.`);
        // Its row goes: the keyboard goes to the title, unless it is somewhere else by now.
        if (document.activeElement === currentTarget) this.element.querySelector("h1").focus();
      } catch (error) {
        say(text.notDone(error.message), { failed: true });
      }
    });
    this.#load();
  }
}

async function isSure(question, word) {
  const dialog = make("dialog", { "aria-labelledby": "sure-title" },
    make("h2", { id: "sure-title" }, question),
    make("p", { class: "buttons" },
      make("button", { type: "button", class: "primary", onclick: () => dialog.close(word) }, word),
      make("button", { type: "button", onclick: () => dialog.close() }, labels.actions.cancel)));
  await ask(dialog);
  return dialog.returnValue === word;
}

const rowOf = (...values) => make("tr", {}, ...values.map((value) => make("td", {}, value)));

function rejectedRow(one) {
  const bytes = Uint8Array.from(atob(one.payload), (letter) => letter.charCodeAt(0));
  const content = new TextDecoder().decode(bytes.slice(0, SHOWN_BYTES));
  const more = bytes.length > SHOWN_BYTES ? text.moreBytes(bytes.length - SHOWN_BYTES) : "";
  return rowOf(moment(one.received_at), one.topic, `${refusalWord(one.reason)}${one.detail ? `: ${one.detail}` : ""}`, make("pre", { class: "bytes" }, `${content}${more}`));
}

function tablePart(name, title, heads) {
  const id = `messages-${name}`;
  const body = make("tbody");
  const table = make("table", { "aria-labelledby": id }, make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), body);
  const note = make("p", { class: "quiet", role: "status" });
  return { body, table, note, loads: new Questions(), element: make("section", {}, make("h2", { id }, title), note, table) };
}
