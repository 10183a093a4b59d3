// Opens sealed frames: Fernet (version 0x80, AES-128-CBC, HMAC-SHA256) under the tenant's key, with WebCrypto.
// What the clear frame says of itself must be what was sealed, and ids must grow: else it is not from the feed.

const bytesOf = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));

export class Opener {
  #keys = new Map();

  // `fetchKeys` gives the keys of the moment: after a rotation there is one that was not there at the log-in.
  constructor(feedKeys, tenantId, fetchKeys) {
    this.tenantId = tenantId;
    this.fetchKeys = fetchKeys;
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
    if (typeof frame.data !== "string") return frame.data;
    await this.ready;
    if (!this.#keys.has(frame.kid)) await this.#importAll(await this.fetchKeys());
    const key = this.#keys.get(frame.kid);
    if (!key) throw new Error(`no key ${frame.kid}`);
    const token = bytesOf(frame.data);
    const signed = token.slice(0, -32);
    const genuine = await crypto.subtle.verify("HMAC", key.sign, token.slice(-32), signed);
    if (!genuine || token[0] !== 0x80) throw new Error(`frame ${frame.id} is not authentic`);
    const plain = await crypto.subtle.decrypt({ name: "AES-CBC", iv: token.slice(9, 25) }, key.seal, signed.slice(25));
    const body = JSON.parse(new TextDecoder().decode(plain));
    if (body.type !== frame.type || body.id !== frame.id || body.tenant_id !== this.tenantId) {
      throw new Error(`frame ${frame.id} was sealed as another`);
    }
    if (body.id <= afterId) throw new Error(`frame ${frame.id} was shown before`);
    return body.data;
  }
}
