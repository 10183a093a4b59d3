// Drives the console in a real Chromium. Prints a line at each step; the Python test presses the panic button.
import { launch, logIn, ordered, say, screen } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD } = process.env;

const browser = await launch();
try {
  const page = await screen(browser);
  await page.getByLabel("User").fill(VIGIL_LOGIN);
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByText("user or password is wrong").waitFor();
  page.errors.length = 0; // the browser reports the refused log-in as an error of its own
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  say("live");

  await ordered("panic");
  const row = page.locator("tr.CRITICAL", { hasText: process.env.VIGIL_SOURCE });
  await row.waitFor();
  if (!(await row.textContent()).includes("<script>")) throw new Error("the message is not shown as text");
  if (!(await row.textContent()).includes("gate[U+202E]")) throw new Error("what turns text round is not shown as its number");
  if (await page.locator("tbody script").count()) throw new Error("a device's message became a script");
  say("shown");
  await row.getByRole("button", { name: "Acknowledge" }).click();
  await row.getByText("Acknowledged by").waitFor();
  say("acknowledged");

  await ordered("killed");
  await page.getByText("The link is lost").waitFor();
  say("told");
  await ordered("restarted");
  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-2` }).waitFor();
  await page.getByText("live, last data").waitFor();
  await page.getByText("The link is lost").waitFor({ state: "hidden" });
  say("resumed");

  await ordered("rotated");
  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-3` }).waitFor();
  say("opened");

  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-3` }).getByRole("link").click();
  const opened = page.getByRole("heading", { name: `Critical panic of ${process.env.VIGIL_SOURCE}-3` });
  await opened.waitFor();
  const place = page.url();
  await opened.focus();
  await page.keyboard.press("n");
  const note = page.getByRole("textbox", { name: "Note" });
  await note.fill("half a sen");
  await ordered("disabled");
  await page.getByText("The session has ended").waitFor();
  if (await note.isVisible()) throw new Error("the question stands before the log-in");
  if (await opened.isVisible()) throw new Error("who is logged out sees the alert still");
  say("logged out");
  await ordered("enabled");
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await opened.waitFor();
  if ((await note.inputValue()) !== "half a sen") throw new Error("what was typed is gone");
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  if (page.url() !== place) throw new Error(`after the log-in the page is ${page.url()}, and was ${place}`);
  await page.getByRole("link", { name: "Desk", exact: true }).click();
  await page.locator("tr.CRITICAL", { hasText: `${process.env.VIGIL_SOURCE}-4` }).waitFor(); // it came meanwhile
  say("back");
  const real = page.errors.filter((text) => !text.includes("WebSocket") && !text.includes("ERR_CONNECTION_REFUSED") && !text.includes("401"));
  if (real.length) throw new Error(`the page said: ${real.join("; ")}`);
} finally {
  await browser.close();
}
