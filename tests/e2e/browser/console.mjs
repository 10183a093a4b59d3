// Drives the console in a real Chromium. Prints a line at each step; the Python test presses the panic button.
import { chromium } from "playwright-core";
import { createInterface } from "node:readline";

const { VIGIL_CONSOLE_URL, VIGIL_LOGIN, VIGIL_PASSWORD, CHROMIUM, SCREENSHOT } = process.env;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (text) => process.stdout.write(`${text}\n`);
const ordered = async (word) => {
  const { value } = await lines.next();
  if (value !== word) throw new Error(`expected the order ${word}, got ${value}`);
};

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(VIGIL_CONSOLE_URL);

  await page.getByLabel("User").fill(VIGIL_LOGIN);
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("user or password is wrong").waitFor();
  errors.length = 0; // the browser reports the refused log-in as an error of its own
  await page.getByLabel("Password").fill(VIGIL_PASSWORD);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("live, last heard").waitFor();
  say("live");

  await ordered("panic");
  const row = page.locator("tr.CRITICAL", { hasText: process.env.VIGIL_SOURCE });
  await row.waitFor();
  if (!(await row.textContent()).includes("<script>")) throw new Error("the message is not shown as text");
  if (await page.locator("tbody script").count()) throw new Error("a device's message became a script");
  say("shown");
  await row.getByRole("button", { name: "Acknowledge" }).click();
  await row.getByText("ACKNOWLEDGED by").waitFor();
  await page.screenshot({ path: SCREENSHOT });
  say("acknowledged");

  await ordered("restarted");
  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-2` }).waitFor();
  await page.getByText("live, last heard").waitFor();
  say("resumed");

  await ordered("rotated");
  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-3` }).waitFor();
  say("opened");

  await ordered("disabled");
  await page.getByText("The session has ended").waitFor();
  say("logged out");
  const real = errors.filter((text) => !text.includes("WebSocket") && !text.includes("ERR_CONNECTION_REFUSED") && !text.includes("401"));
  if (real.length) throw new Error(`the page said: ${real.join("; ")}`);
} finally {
  await browser.close();
}
