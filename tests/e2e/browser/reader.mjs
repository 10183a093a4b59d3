// Runs the browser's reader over streams of frames: [{keys, frames: [base64]}] on standard input, one stream a line;
// answers [[true, false, ...]] : of each frame whether it was believed, up to the first that was not,
// or "repeated" when it was and says again what a frame before it said.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // Node 18 has it under a flag only
const source = readFileSync(process.argv[2], "utf8");
const { Opener, Watcher } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

for await (const line of createInterface({ input: process.stdin })) {
  const { keys, frames } = JSON.parse(line);
  const watcher = new Watcher(new Opener(keys, 1, async () => keys));
  const believed = [];
  for (const frame of frames) {
    try {
      // A browser ends a socket that brings text which is no UTF-8.
      const taken = await watcher.take(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(frame, "base64")));
      believed.push(taken.repeated ? "repeated" : true);
    } catch {
      believed.push(false);
      break;
    }
  }
  process.stdout.write(`${JSON.stringify(believed)}\n`);
}
