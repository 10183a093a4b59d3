// A shift at the desk: two operators, a panic, sound, map, keyboard, each page checked for accessibility.
import { check, fallsSilent, find, launch, logIn, ordered, prepare, say, screen, sounds, staysSilent, until } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD, VIGIL_SECOND_LOGIN, VIGIL_SECOND_PASSWORD, VIGIL_SOURCE } = process.env;
const CRITICAL = [0xd1, 0x00, 0x2a];

const browser = await launch();
try {
  const first = await screen(browser);
  await check(first, "log-in");
  await logIn(first, VIGIL_LOGIN, VIGIL_PASSWORD);
  await first.locator(".canvas canvas").waitFor();
  await staysSilent(first);
  const untouched = watchUntouched(browser);
  say("live");

  await ordered("panic");
  const row = first.locator("tr.CRITICAL", { hasText: VIGIL_SOURCE });
  await row.waitFor();
  await sounds(first);
  await until("the title flashes", async () => (await first.title()).includes("Critical"));
  await until("the title flashes", async () => (await first.title()) === "Vigil");
  await first.getByRole("button", { name: "Sound is off" }).waitFor({ state: "hidden" });
  const second = await untouched;
  await second.getByRole("button", { name: "Sound is off: turn on" }).click();
  await sounds(second);
  await check(first, "desk");
  say("sounding");

  const place = await until("the alert is on the map", () => find(first, first.locator(".canvas"), CRITICAL));
  await first.mouse.click(place.x, place.y);
  await first.getByRole("heading", { name: `Critical panic of ${VIGIL_SOURCE}` }).waitFor();
  await first.getByRole("link", { name: "Back to the desk" }).click();
  await first.getByText(/guards? on the map/).waitFor();
  say("mapped");

  await row.focus();
  await first.keyboard.press("a");
  await second.locator("tr.CRITICAL", { hasText: VIGIL_SOURCE }).getByText(`Acknowledged by ${VIGIL_LOGIN}`).waitFor();
  await Promise.all([fallsSilent(first), fallsSilent(second)]);
  say("acknowledged");

  await ordered("more");
  await keyboard(first);
  say("handled");
  await pages(first, second);
  await tiles(first);
  say("checked");
  for (const page of [first, second]) {
    const real = page.errors.filter((text) => !text.includes("409"));
    if (real.length) throw new Error(`the page said: ${real.join("; ")}`);
  }
} finally {
  await browser.close();
}

// As after a restart of the browser that fills in the form and sends it: no person has done anything on this page, so
// it may not sound, and says so. The page looks by itself: whatever asks it from here counts as a person.
async function watchUntouched(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  await context.addInitScript(([user, password]) => {
    const wait = (seen) => new Promise((resolve) => setInterval(() => seen() && resolve(), 50));
    const watch = async () => {
      document.getElementById("user").value = user;
      document.getElementById("password").value = password;
      document.getElementById("login").requestSubmit();
      await wait(() => document.title.includes("Critical"));
      const shown = !document.getElementById("sound").hidden;
      console.log(`untouched: ${shown ? "says that it is silent" : "says nothing"}, ${globalThis.loudness() > 0 ? "sounds" : "silent"}`);
    };
    addEventListener("load", watch);
  }, [VIGIL_SECOND_LOGIN, VIGIL_SECOND_PASSWORD]);
  const page = await context.newPage();
  const told = page.waitForEvent("console", { predicate: (message) => message.text().startsWith("untouched:"), timeout: 60_000 });
  await prepare(page);
  const text = (await told).text();
  if (text !== "untouched: says that it is silent, silent") throw new Error(text);
  return page;
}

// Tiles that the installation names lie below everything else. Who logs in again is on the page where they were.
async function tiles(page) {
  const picture = await page.evaluate(async () => {
    const canvas = new OffscreenCanvas(256, 256);
    const brush = canvas.getContext("2d");
    brush.fillStyle = "rgb(0, 128, 64)";
    brush.fillRect(0, 0, 256, 256);
    return Array.from(new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer()));
  });
  const map_style_url = `${new URL(page.url()).origin}/tiles/{z}/{x}/{y}.png`;
  await page.route("**/api/v1/console", (route) => route.fulfill({ json: { map_style_url } }));
  await page.route("**/tiles/**", (route) => route.fulfill({ contentType: "image/png", body: Buffer.from(picture) }));
  await page.reload();
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.getByRole("link", { name: "Critical panic" }).waitFor();
  await page.getByRole("link", { name: "Desk", exact: true }).click();
  await page.getByText(/guards? on the map/).waitFor(); // only then is the canvas that of the desk
  await page.locator(".canvas canvas").waitFor();
  await until("the tiles are drawn", () => find(page, page.locator(".canvas"), [0, 128, 64]));
}

// Everything that can be done with an alert, without a mouse.
async function keyboard(page) {
  const press = (key) => page.keyboard.press(key);
  const rowOf = (text) => page.locator("tr[data-id]", { hasText: text });
  const intrusion = rowOf(`${VIGIL_SOURCE}-door`);
  const battery = rowOf(`${VIGIL_SOURCE}-battery`);
  await battery.waitFor();
  await rowOf(VIGIL_SOURCE).first().focus();
  await press("Home");
  await until("the arrows reach the intrusion", async () => {
    await press("ArrowDown");
    return intrusion.evaluate((element) => element === document.activeElement);
  });

  await press("s");
  await page.getByLabel("Assign to").fill(VIGIL_SOURCE);
  await press("Enter");
  await intrusion.getByText(`assigned to ${VIGIL_SOURCE}`).waitFor();
  await press("n");
  await page.getByRole("textbox", { name: "Note" }).fill("Seen on camera 4");
  await press("Tab");
  await press("Enter");
  await page.getByRole("status").getByText("Note: Intrusion of").waitFor();
  await press("f");
  await page.getByLabel("Reason").selectOption("animal");
  await page.getByRole("textbox", { name: "Note" }).fill("a cat");
  await page.getByRole("dialog").getByRole("button", { name: "False alarm" }).press("Enter");
  await intrusion.waitFor({ state: "detached" });

  await battery.getByRole("button", { name: "More" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Note" }).click();
  await page.getByRole("textbox", { name: "Note" }).fill("by mouse");
  await page.getByRole("dialog").getByRole("button", { name: "Note" }).click();
  await page.getByRole("status").getByText("Note: Low battery of").waitFor();
  await battery.focus();
  await press("h");
  await page.getByLabel("Why").fill("the charger comes at six");
  await press("Enter");
  await battery.getByText("shelved until").waitFor();
  await press("u");
  await until("off the shelf", async () => !(await battery.textContent()).includes("shelved"));
  await press("r");
  await page.getByRole("dialog").getByRole("button", { name: "Resolve" }).press("Enter");
  await battery.waitFor({ state: "detached" });
}

async function pages(first, second) {
  await first.locator("tr.CRITICAL", { hasText: VIGIL_SOURCE }).focus();
  await first.keyboard.press("?");
  await first.getByRole("dialog", { name: "Keys in the queue" }).waitFor();
  await check(first, "keys");
  await first.keyboard.press("Escape");
  await first.locator("tr.CRITICAL", { hasText: VIGIL_SOURCE }).focus();
  await first.keyboard.press("Enter");
  await first.getByRole("heading", { name: "Timeline" }).waitFor();
  await first.getByRole("cell", { name: "Acknowledged", exact: true }).waitFor();
  await first.getByRole("cell", { name: "E-mail", exact: true }).first().waitFor(); // who was told
  await first.getByRole("button", { name: "On the way" }).press("Enter");
  await first.getByRole("cell", { name: "On the way", exact: true }).waitFor();
  await until("the keyboard stays on the alert", () => first.evaluate(() => document.querySelector(".alert-page").contains(document.activeElement)));
  await first.keyboard.press("n");
  await first.getByRole("textbox", { name: "Note" }).fill("Patrol 2 is there");
  await check(first, "note");
  await first.getByRole("dialog").getByRole("button", { name: "Note" }).click();
  await first.getByRole("cell", { name: "Patrol 2 is there" }).waitFor(); // the feed said so
  await check(first, "alert");
  await first.getByRole("link", { name: "Guards", exact: true }).click();
  await first.getByLabel("Find by name").fill(VIGIL_SOURCE);
  await check(first, "guards");
  await first.getByRole("link", { name: VIGIL_SOURCE, exact: true }).click();
  await first.getByRole("link", { name: "Critical panic" }).waitFor();
  await check(first, "guard");
  for (const width of [1280, 3840]) {
    await second.setViewportSize({ width, height: (width * 9) / 16 });
    const wide = await second.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) throw new Error(`at ${width} pixels the page is ${wide} too wide`);
  }
}
