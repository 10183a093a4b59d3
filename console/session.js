// Who is logged in. A token lasts minutes, a session a shift: each refresh token is good once and brings the next.
// Kept in memory alone: nothing that opens the feed outlives the page.
import { send } from "/console/api.js";
import { labels } from "/console/words.js";

const REFRESH_SHARE = 0.8;
const TRY_AGAIN_MS = 5000;

class Session extends EventTarget {
  #held = null;
  #timer = null;
  #renewing = null;
  wanted = false; // somebody is at this desk: true until they log out, also when the session ends by itself

  get token() {
    return this.#held?.token ?? null;
  }

  get open() {
    return this.#held !== null;
  }

  get name() {
    return this.#held?.name ?? "";
  }

  get login() {
    return this.#held?.login ?? "";
  }

  get role() {
    return this.#held?.role ?? "viewer";
  }

  get tenantId() {
    return this.#held?.tenant_id ?? null;
  }

  get feedKeys() {
    return this.#held?.feed_keys ?? {};
  }

  async logIn(user, password) {
    this.#hold((await send("POST", "/api/v1/session", { body: { user, password } })).result);
    this.wanted = true;
    this.dispatchEvent(new Event("opened"));
  }

  async logOut() {
    const { token } = this;
    this.wanted = false;
    this.#end("");
    if (token) await send("DELETE", "/api/v1/session", { token });
  }

  // Whether there is a fresh token now. All who ask at once wait for one refresh.
  renew() {
    this.#renewing ??= this.#refresh().finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async #refresh() {
    if (!this.open) return false;
    try {
      const body = { refresh_token: this.#held.refresh_token };
      this.#hold((await send("POST", "/api/v1/session/refresh", { body })).result);
      return true;
    } catch (error) {
      if (error.status === 401) this.#end(labels.session.ended);
      else this.#later(TRY_AGAIN_MS);
      return false;
    }
  }

  #hold(answer) {
    this.#held = answer;
    this.#later(answer.expires_in * REFRESH_SHARE * 1000);
  }

  #later(wait_ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.renew(), wait_ms);
  }

  #end(reason) {
    clearTimeout(this.#timer);
    this.#held = null;
    this.dispatchEvent(new CustomEvent("ended", { detail: reason }));
  }
}

export const session = new Session();
