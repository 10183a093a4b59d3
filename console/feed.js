// Reads the feed: opens sealed frames (Fernet: version 0x80, AES-128-CBC, HMAC-SHA256) with WebCrypto, and believes what
// was sealed for this tenant, says outside what was sealed inside, and comes after what was read before.
// services/feed/client.py is the same for programs; one test holds both to the same frames.

const CLEAR = new Set(["connected", "heartbeat", "error", "ack", "metrics"]); // between a socket and its gateway
const CLOCKS_APART_S = 60; // frames are sealed on several hosts
const REMEMBERED = 10_000; // events of alerts, the newest of them

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

function textOf(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_");
}

// Base64 has spare bits, and readers forgive spaces: neither is covered by a signature.
function tokenOf(text) {
  const token = bytesOf(text);
  if (textOf(token) !== text) throw new Error("not the one way to write a token");
  return token;
}

export class Opener {
  #keys = new Map();

  // `feedKeys` is empty where the feed is not sealed. `fetchKeys` gives the keys of the moment: after a rotation there
  // is one that was not there at the log-in.
  constructor(feedKeys, tenantId, fetchKeys) {
    this.tenantId = tenantId;
    this.fetchKeys = fetchKeys;
    this.sealed = Object.keys(feedKeys).length > 0;
    this.ready = this.#importAll(feedKeys);
  }

  #importAll(feedKeys) {
    return Promise.all(Object.entries(feedKeys).map(([kid, text]) => this.#import(kid, bytesOf(text))));
  }

  async #import(kid, key) {
    const sign = await crypto.subtle.importKey("raw", key.slice(0, 16), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    const seal = await crypto.subtle.importKey("raw", key.slice(16), "AES-CBC", false, ["decrypt"]);
    this.#keys.set(kid, { sign, seal });
  }

  // The frame's data. Throws for anything that does not fit.
  async open(frame, afterId) {
    return (await this.unseal(frame, afterId)).data;
  }

  // {data, sealedAt}: when it was sealed, in Unix seconds.
  async unseal(frame, afterId) {
    if (!this.sealed) return this.#plain(frame, afterId);
    await this.ready;
    if (typeof frame.data !== "string") throw new Error(`frame ${frame.id} is not sealed`);
    if (!this.#keys.has(frame.kid)) await this.#importAll(await this.fetchKeys());
    const key = this.#keys.get(frame.kid);
    if (!key) throw new Error(`no key ${frame.kid}`);
    const token = tokenOf(frame.data);
    const signed = token.slice(0, -32);
    const genuine = await crypto.subtle.verify("HMAC", key.sign, token.slice(-32), signed);
    if (!genuine || token[0] !== 0x80) throw new Error(`frame ${frame.id} is not authentic`);
    const plain = await crypto.subtle.decrypt({ name: "AES-CBC", iv: token.slice(9, 25) }, key.seal, signed.slice(25));
    const body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(plain));
    if (body.type !== frame.type || body.id !== frame.id || body.tenant_id !== this.tenantId) {
      throw new Error(`frame ${frame.id} was sealed as another`);
    }
    if (!(body.id > afterId)) throw new Error(`frame ${frame.id} was shown before`);
    return { data: body.data, sealedAt: Number(new DataView(token.buffer, token.byteOffset).getBigUint64(1)) };
  }

  #plain(frame, afterId) {
    if (!Number.isInteger(frame.id) || !(frame.id > afterId) || frame.data === undefined || frame.data === null) {
      throw new Error(`frame ${frame.id} was shown before`);
    }
    return { data: frame.data, sealedAt: 0 };
  }
}

export class Watcher {
  #newest = 0;
  #floor = 0;
  #wantsSnapshot = true;
  #told = new Set();

  constructor(opener) {
    this.opener = opener;
    this.since = null; // the place in the feed to resume from
  }

  // After a frame that was refused: what was seen cannot be trusted.
  forget() {
    this.since = null;
    this.#wantsSnapshot = true;
  }

  // The frame with its data in the clear. Throws for what is not to be believed; one frame at a time, in order.
  async take(text) {
    const frame = JSON.parse(text);
    if (typeof frame?.type !== "string") throw new Error("a frame without a type");
    if (CLEAR.has(frame.type)) return this.#takeClear(frame);
    const isSnapshot = frame.type === "snapshot";
    if (this.#wantsSnapshot && !isSnapshot) throw new Error(`frame ${frame.id} came before the snapshot`);
    const { data, sealedAt } = await this.opener.unseal(frame, isSnapshot ? -1 : this.since ?? 0);
    if (this.opener.sealed) this.#checkTime(frame, isSnapshot, sealedAt);
    this.since = frame.id;
    this.#wantsSnapshot = false;
    return this.#wasTold(data) ? { ...frame, data, repeated: true } : { ...frame, data };
  }

  // After a fault, what happened to an alert may come again, in a frame of its own: it says nothing new.
  #wasTold(data) {
    if (!Number.isInteger(data?.event)) return false;
    const event = `${data.id} ${data.event}`;
    if (this.#told.has(event)) return true;
    this.#told.add(event);
    if (this.#told.size > REMEMBERED) this.#told.delete(this.#told.values().next().value);
    return false;
  }

  #takeClear(frame) {
    if ("data" in frame || "id" in frame) throw new Error(`a ${frame.type} frame with data of the feed`);
    if (frame.type === "connected" && !frame.resumed) this.#wantsSnapshot = true;
    return frame;
  }

  // A snapshot may bear any id: one older than what was read is a replay, and so are frames older than their snapshot.
  #checkTime(frame, isSnapshot, sealedAt) {
    if (sealedAt < (isSnapshot ? this.#newest - CLOCKS_APART_S : this.#floor)) {
      throw new Error(`frame ${frame.id} is from before its time`);
    }
    this.#newest = Math.max(this.#newest, sealedAt);
    if (isSnapshot) this.#floor = sealedAt - CLOCKS_APART_S;
  }
}
