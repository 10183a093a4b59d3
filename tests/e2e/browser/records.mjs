// An admin looks at a device, at the response report, and at what went wrong, and has a dead letter sent again.
import { check, find, launch, logIn, ordered, say, screen, until } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD, VIGIL_SOURCE, VIGIL_LETTER, VIGIL_GUARD } = process.env;
const LINE_BLUE = [0x0b, 0x57, 0xa4];

const browser = await launch();
try {
  const page = await screen(browser);
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.getByRole("link", { name: "Devices", exact: true }).click();
  await page.getByLabel("Find by name").fill(VIGIL_SOURCE);
  const listed = page.locator("tr", { has: page.getByRole("link", { name: VIGIL_SOURCE, exact: true }) });
  await listed.getByText("online").waitFor();
  await check(page, "devices");
  await page.getByRole("link", { name: VIGIL_SOURCE, exact: true }).click();
  await page.getByText("8 readings.").waitFor();
  for (const name of ["Battery, chart", "Signal, chart"]) {
    await until(`${name} is drawn`, () => find(page, page.getByRole("group", { name }), LINE_BLUE));
  }
  await page.getByRole("cell", { name: "battery 83, signal -77" }).waitFor();
  await check(page, "device");
  say("charted");

  await ordered("low");
  await page.getByRole("link", { name: "Medium low battery" }).waitFor(); // the feed said so
  await page.getByText("9 readings.").waitFor();
  await page.getByRole("link", { name: "Devices", exact: true }).click();
  await page.getByLabel("Find by name").fill(VIGIL_SOURCE);
  await listed.getByText(/battery 12\b/).waitFor(); // no frame of the feed brings readings
  say("warned");

  await page.getByRole("link", { name: "Report", exact: true }).click();
  await page.getByText("hours logged in").waitFor();
  const raised = page.getByRole("row", { name: /^Medium/ }).first().getByRole("cell").first();
  if (!(Number(await raised.textContent()) >= 1)) throw new Error("the report has no alert of severity MEDIUM");
  await check(page, "report");
  say("reported");

  await page.getByRole("link", { name: "Messages", exact: true }).click();
  const refused = page.locator("tr", { hasText: `guard/${VIGIL_GUARD}/gps` });
  await refused.getByText("<b>stranger</b>").waitFor(); // as text
  const again = page.getByRole("button", { name: `Send again: ${VIGIL_LETTER}` });
  await again.waitFor();
  await check(page, "messages");
  await page.getByRole("button", { name: `Discard: ${VIGIL_LETTER}` }).click();
  await page.getByRole("dialog", { name: "Discard this message?" }).getByRole("button", { name: "Cancel" }).click();
  await again.click();
  await page.locator("#said").getByText("Sent again.").waitFor();
  await again.waitFor({ state: "detached" });
  say("repaired");
  if (page.errors.length) throw new Error(`the page said: ${page.errors.join("; ")}`);
} finally {
  await browser.close();
}
