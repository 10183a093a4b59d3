// What a screen says while alarms may not reach it: by what the gateway says, and by its own clock when nothing is said.
import { check, launch, logIn, ordered, say, screen } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD, SCREENSHOTS } = process.env;
const WITHIN_MS = 10_000;
const SIZES = [[1280, 800], [1920, 1080], [3840, 2160], [390, 844]];

const browser = await launch();
try {
  const page = await screen(browser);
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  const banner = page.locator("#banner-blind");
  if (await banner.isVisible()) throw new Error(`it says that it is blind: ${await banner.textContent()}`);
  say("live");

  await ordered("redis frozen");
  await page.getByText(/^Alarms may not arrive since \d/).waitFor({ timeout: WITHIN_MS });
  await holds(/Redis does not answer/, /Call every guard on shift/, /Call the person on call for Vigil/);
  await page.getByLabel("Link").getByText(/^out of date since/).waitFor();
  await check(page, "blind");
  await photograph("blind");
  say("blind");
  await sees("redis goes on");

  await ordered("watchdog frozen");
  await page.getByText(/^Vigil works in part since \d.*New alarms still show here/).waitFor({ timeout: WITHIN_MS });
  await holds(/The watchdog does not answer/, /Call the person on call for Vigil/);
  await page.getByLabel("Link").getByText(/^live/).waitFor();
  await check(page, "partly");
  await photograph("partly");
  say("partly");
  await sees("watchdog goes on");

  await ordered("noc_gateway frozen");
  await page.getByText(/^This page may be out of date since \d/).waitFor({ timeout: WITHIN_MS });
  await holds(/received nothing from Vigil/, /Check another computer/);
  await photograph("silent");
  say("blind");
  await sees("noc_gateway goes on");
  await page.getByText(/^Vigil works again since .*, after \d+ s/).waitFor();
  await photograph("again");
  const real = page.errors.filter((text) => !text.includes("WebSocket") && !text.includes("50"));
  if (real.length) throw new Error(`the page said: ${real.join("; ")}`);

  async function holds(...words) {
    const text = await banner.textContent();
    for (const word of words) if (!word.test(text)) throw new Error(`${word} is not in: ${text}`);
  }

  async function sees(word) {
    await ordered(word);
    await banner.waitFor({ state: "hidden", timeout: WITHIN_MS });
    await page.getByLabel("Link").getByText(/^live/).waitFor();
    say("sees");
  }

  async function photograph(name) {
    if (!SCREENSHOTS) return;
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: `${SCREENSHOTS}/${name}-${width}.png` });
    }
    await page.setViewportSize({ width: SIZES[0][0], height: SIZES[0][1] });
  }
} finally {
  await browser.close();
}
