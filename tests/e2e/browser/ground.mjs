// The map on a PMTiles file of the installation: images first, then vectors, in light and in dark.
import { find, launch, logIn, ordered, say, screen, until } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD } = process.env;
const IMAGE = [0, 128, 64];
const WATER = { light: [0xa9, 0xcf, 0xe8], dark: [0x12, 0x32, 0x4a] };

const browser = await launch();
try {
  const page = await screen(browser);
  const shows = async (what, colour) => {
    await page.locator(".canvas canvas").waitFor();
    await until(what, () => find(page, page.locator(".canvas"), colour));
  };
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await shows("the images are drawn", IMAGE);
  say("images");
  await ordered("vectors");
  await page.reload();
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    await shows(`water is drawn, ${scheme}`, WATER[scheme]);
  }
  say("vectors");
  await ordered("gone");
  await page.reload();
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.getByText("The map's file cannot be read.").waitFor();
  await page.getByRole("heading", { name: "Open alerts" }).waitFor();
  await page.route("**/api/v1/console", (route) => route.fulfill({ json: { map_style_url: "/nowhere/style.json" } }));
  await page.reload();
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.getByText("The map's style cannot be read.").waitFor();
  await page.locator(".canvas canvas").waitFor();
  const real = page.errors.filter((text) => !text.includes("404"));
  if (real.length) throw new Error(`the page said: ${real.join("; ")}`);
} finally {
  await browser.close();
}
