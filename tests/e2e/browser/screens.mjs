// Screens of a control room in a real Chromium, and the orders by which a Python test leads them.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const { VIGIL_CONSOLE_URL, CHROMIUM, SCREENSHOTS } = process.env;
const AXE = readFileSync(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export const say = (text) => process.stdout.write(`${text}\n`);
export const ordered = async (word) => {
  const { value } = await lines.next();
  if (value !== word) throw new Error(`expected the order ${word}, got ${value}`);
};

// The map is drawn without a graphics card, by the processor.
export const launch = () =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--autoplay-policy=document-user-activation-required"],
  });

// A page whose sound can be measured and whose errors are kept.
export async function screen(browser) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 800 } })).newPage();
  return prepare(page);
}

export async function prepare(page) {
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  await page.addInitScript(listenToSound);
  await page.goto(VIGIL_CONSOLE_URL);
  return page;
}

// What goes to the loudspeakers passes an analyser as well.
function listenToSound() {
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function heard(target, ...further) {
    if (target instanceof AudioDestinationNode) {
      globalThis.analyser ??= target.context.createAnalyser();
      connect.call(this, globalThis.analyser);
    }
    return connect.call(this, target, ...further);
  };
  globalThis.loudness = () => {
    if (!globalThis.analyser) return 0;
    const samples = new Float32Array(globalThis.analyser.fftSize);
    globalThis.analyser.getFloatTimeDomainData(samples);
    return Math.max(...samples.map(Math.abs));
  };
}

export const sounds = (page) => page.waitForFunction(() => globalThis.loudness() > 0.05, null, { polling: 50 });

// Longer than the pause between two tones.
export async function staysSilent(page) {
  const loudest = await page.evaluate(async () => {
    let most = 0;
    for (const end = performance.now() + 1600; performance.now() < end; ) {
      most = Math.max(most, globalThis.loudness());
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    return most;
  });
  if (loudest > 0) throw new Error(`it sounds still: ${loudest}`);
}

// A tone that is under way may come to its end, and the analyser remembers the last 43 ms or so.
export async function fallsSilent(page) {
  await page.waitForFunction(() => globalThis.loudness() === 0, null, { polling: 50, timeout: 2000 });
  await staysSilent(page);
}

export async function logIn(page, user, password) {
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("live, last data").waitFor();
}

// No violation of WCAG level A or AA, in light and in dark; a screenshot of each when asked.
export async function check(page, name) {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.evaluate(AXE);
    const { violations, passes } = await page.evaluate((levels) => globalThis.axe.run({ runOnly: levels }), LEVELS);
    if (passes.length === 0) throw new Error(`${name}: axe-core looked at nothing`);
    const found = violations.map(({ id, nodes }) => `${id} at ${nodes.map(({ html }) => html.slice(0, 200)).join(" and ")}`);
    if (found.length) throw new Error(`${name}, ${scheme}: ${found.join("; ")}`);
    if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${name}-${scheme}.png` });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

// The middle of all points of a colour in a picture of an element, on the page; null where there is none.
export async function find(page, locator, [red, green, blue]) {
  const picture = (await locator.screenshot()).toString("base64");
  const { x, y } = await locator.boundingBox();
  const middle = await page.evaluate(async ({ data, wanted }) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const brush = new OffscreenCanvas(image.width, image.height).getContext("2d");
    brush.drawImage(image, 0, 0);
    const { data: bytes } = brush.getImageData(0, 0, image.width, image.height);
    const sum = { x: 0, y: 0, count: 0 };
    for (let at = 0; at < bytes.length; at += 4) {
      if (wanted.some((value, part) => Math.abs(bytes[at + part] - value) > 12)) continue;
      sum.x += (at / 4) % image.width;
      sum.y += Math.floor(at / 4 / image.width);
      sum.count += 1;
    }
    return sum.count < 20 ? null : { x: sum.x / sum.count, y: sum.y / sum.count };
  }, { data: picture, wanted: [red, green, blue] });
  return middle && { x: x + middle.x, y: y + middle.y };
}

export async function until(what, condition, timeout_ms = 20_000) {
  for (const end = Date.now() + timeout_ms; Date.now() < end; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`it did not come to pass in time: ${what}`);
}
