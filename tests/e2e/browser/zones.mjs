// A supervisor plays a guard's day back, draws a zone, mends it, sees the violation that comes of it, and who could go.
import { check, find, launch, logIn, ordered, say, screen, until } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD, VIGIL_SOURCE, VIGIL_PLACE } = process.env;
const GUARD_BLUE = [0x0b, 0x62, 0xb0];
const ZONE = `Yard of ${VIGIL_SOURCE}`;

const browser = await launch();
try {
  const page = await screen(browser);
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await playback(page);
  say("played");

  const corners = await draw(page);
  await mend(page);
  say(`drawn ${JSON.stringify(corners)}`);

  await ordered("entered");
  await violation(page);
  say("seen");
  const real = page.errors.filter((text) => !/40[0-9]/.test(text)); // what the server refuses, the browser reports too
  if (real.length) throw new Error(`the page said: ${real.join("; ")}`);
} finally {
  await browser.close();
}

async function playback(page) {
  await page.getByRole("link", { name: "Guards", exact: true }).click();
  await page.getByLabel("Find by name").fill(VIGIL_SOURCE);
  await page.getByRole("link", { name: VIGIL_SOURCE, exact: true }).click();
  await page.getByText("6 fixes.").waitFor();
  await until("the track is drawn", () => find(page, page.locator(".track .canvas"), GUARD_BLUE));
  const slider = page.getByRole("slider", { name: "Time" });
  const told = page.locator(".player .told");
  const at = async (wanted) => {
    const text = await told.textContent();
    if (!text.includes(wanted)) throw new Error(`the slider shows ${text}, and not ${wanted}`);
    if ((await slider.getAttribute("aria-valuetext")) !== text) throw new Error("the slider says another time than it shows");
  };
  await at("77.59500"); // the newest fix
  await slider.focus();
  await page.keyboard.press("Home");
  await at("77.59450");
  await page.keyboard.press("ArrowRight");
  await at("77.59460");
  await page.keyboard.press("ArrowLeft");
  await at("77.59450");
  await check(page, "guard-track");
  await page.getByLabel("Speed").selectOption("1200");
  await slider.focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: "Stop" }).waitFor();
  await page.getByRole("button", { name: "Play" }).waitFor(); // it ends by itself
  await at("77.59500");
}

// A polygon, by clicks on the map; the view is where another zone is.
async function draw(page) {
  await page.getByRole("link", { name: "Zones", exact: true }).click();
  await page.getByRole("button", { name: VIGIL_PLACE }).click();
  await page.getByRole("heading", { name: `Zone ${VIGIL_PLACE}, version` }).waitFor();
  await page.getByRole("button", { name: "Draw a polygon" }).click();
  await clickAt(page, [0.3, 0.3], [0.7, 0.3], [0.7, 0.7]);
  await page.getByText("3 corners; click the next").waitFor();
  await clickAt(page, [0.3, 0.7]);
  await page.getByRole("button", { name: "Finish the polygon" }).click();
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".field", { hasText: "Name" }).getByText(/^name is/).waitFor();
  await page.getByLabel("Name").fill(ZONE);
  await page.getByLabel("Kind").selectOption("forbidden");
  await page.getByLabel("Only for the guard").fill("guard-that-is-none");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator(".field", { hasText: "Only for the guard" }).getByText("is not a guard of this tenant").waitFor(); // the server's words, beside the field
  await page.getByLabel("Only for the guard").fill(VIGIL_SOURCE);
  await page.getByRole("button", { name: "Try it on last week" }).click();
  await page.getByText("it would have been different for 1:").waitFor();
  await page.locator(".trial li", { hasText: VIGIL_SOURCE }).getByText("1 violation").first().waitFor();
  await check(page, "zones");
  const corners = await cornersOf(page);
  if (corners.length !== 4) throw new Error(`four corners were clicked, not ${corners.length}`);
  await save(page, ZONE);
  return corners;
}

// A corner dragged, an edge's middle pulled out, a corner removed; then a circle made wider.
async function mend(page) {
  await page.getByRole("button", { name: ZONE }).click();
  const before = await cornersOf(page);
  await drag(page, await cornerPlace(page, 0), { x: -30, y: -20 });
  const after = await cornersOf(page);
  if (after[0] === before[0] || after[1] !== before[1]) throw new Error("the first corner, and it alone, was to move");
  const [first, second] = [await cornerPlace(page, 0), await cornerPlace(page, 1)];
  await drag(page, { x: (first.x + second.x) / 2, y: (first.y + second.y) / 2 }, { x: 0, y: -30 });
  if ((await cornersOf(page)).length !== 5) throw new Error("the edge's middle was to become a corner");
  const pulled = await cornerPlace(page, 1);
  await page.mouse.click(pulled.x, pulled.y, { button: "right" });
  if ((await cornersOf(page)).length !== 4) throw new Error("the corner was to go");
  await save(page, ZONE);
  await page.getByRole("button", { name: ZONE }).click();
  await page.getByRole("heading", { name: `Zone ${ZONE}, version 2` }).waitFor();
  if ((await cornersOf(page)).join() !== after.join()) throw new Error("the zone is not as it was mended");
  await page.getByLabel("Corners").fill("12.99, 77.59\nnonsense");
  await page.getByText('line 2 is "nonsense"').waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await circle(page);
  await overTheDateLine(page);
  await overtaken(page);
}

// The answers to a save come late: what was begun meanwhile stays as it is, and only the form that was saved goes.
async function overtaken(page) {
  const name = `Slow ${ZONE}`;
  const [held, lists] = [[], /\/api\/v1\/zones(\?|$)/];
  const hold = (method) => page.route(lists, (route) => (route.request().method() === method ? held.push(route) : route.continue()));
  const release = async () => {
    await Promise.all(held.splice(0).map((route) => route.continue()));
    await page.unroute(lists);
  };
  await drawn(page, name, [0.2, 0.2], [0.4, 0.2], [0.4, 0.4]);
  await hold("GET");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("#said").getByText(`Zone ${name} is saved`).waitFor();
  await until("the list is asked for", () => held.length > 0);

  await page.getByRole("button", { name: "Draw a polygon" }).click();
  await page.getByLabel("Name").fill(`Next ${ZONE}`);
  await clickAt(page, [0.6, 0.6], [0.8, 0.6], [0.8, 0.8]);
  await page.getByText("3 corners; click the next").waitFor();
  await release();
  await page.locator("tr", { hasText: name }).waitFor(); // the saved zone is in the list: its save is over
  await page.getByRole("button", { name: "Finish the polygon" }).click();
  if ((await cornersOf(page)).length !== 3) throw new Error("the drawing that was begun meanwhile was to stay");
  if ((await page.getByLabel("Name").inputValue()) !== `Next ${ZONE}`) throw new Error("the form that was opened meanwhile was to stay");

  // A refusal belongs to the form that was saved, too; the button of the next form is free.
  await page.getByLabel("Only for the guard").fill("guard-that-is-none");
  await hold("POST");
  await page.getByRole("button", { name: "Save" }).click();
  await until("the zone is sent", () => held.length > 0);
  await drawn(page, `Last ${ZONE}`, [0.2, 0.6], [0.4, 0.6], [0.4, 0.8]);
  await release();
  await page.locator("#failed").getByText(`Zone Next ${ZONE} is not saved:`).waitFor();
  if (await page.locator(".field", { hasText: "Only for the guard" }).getByText("is not a guard of this tenant").count()) throw new Error("the refusal was of another form");
  await save(page, `Last ${ZONE}`);
}

async function drawn(page, name, ...places) {
  await page.getByRole("button", { name: "Draw a polygon" }).click();
  await clickAt(page, ...places);
  await page.getByText("3 corners; click the next").waitFor();
  await page.getByRole("button", { name: "Finish the polygon" }).click();
  await page.getByLabel("Name").fill(name);
}

// One shape on both sides of 180 degrees, as it is typed, drawn, dragged and saved.
async function overTheDateLine(page) {
  const name = `Strait ${ZONE}`;
  await page.getByRole("button", { name: "Draw a polygon" }).click();
  await page.getByLabel("Corners").fill("0.1, 179.9\n0.1, -179.9\n-0.1, -179.9\n-0.1, 179.9");
  await page.getByRole("button", { name: "Finish the polygon" }).click();
  await page.getByLabel("Name").fill(name);
  await save(page, name);
  await page.getByRole("button", { name }).click();
  await page.getByRole("heading", { name: `Zone ${name}, version 1` }).waitFor();
  const before = await cornersOf(page);
  const east = before.findIndex((corner) => corner === "0.100000, -179.900000");
  await drag(page, await cornerPlace(page, east, 360), { x: 30, y: 0 });
  const after = await cornersOf(page);
  const lon = Number(after[east].split(", ")[1]);
  if (!(lon > -179.9 && lon < -179.5)) throw new Error(`the corner was to go a little east, and is at ${after[east]}`);
  await save(page, name);
  await page.getByRole("button", { name }).click();
  await page.getByRole("heading", { name: `Zone ${name}, version 2` }).waitFor();
  if ((await cornersOf(page))[east] !== after[east]) throw new Error("the zone is not as it was dragged");
  await page.getByRole("button", { name: "Cancel" }).click();
}

async function circle(page) {
  await page.getByRole("button", { name: "Draw a circle" }).click();
  await clickAt(page, [0.5, 0.5]);
  const radius = page.getByLabel("Radius, m");
  if ((await radius.inputValue()) !== "100") throw new Error("a circle is 100 m wide at first");
  await page.getByLabel("Name").fill(`Round ${ZONE}`);
  await page.getByLabel("Kind").selectOption("speed");
  await page.getByLabel("Limit, m/s").fill("7");
  await radius.fill("-5");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("status").getByText(`Zone Round ${ZONE} is saved`).waitFor();
  await page.locator("tr", { hasText: `Round ${ZONE}` }).getByText("speed, 7 m/s").waitFor();
}

async function violation(page) {
  await page.getByRole("link", { name: "Desk", exact: true }).click();
  const row = page.locator("tr.HIGH", { hasText: VIGIL_SOURCE });
  await row.getByText("Geofence violation").waitFor();
  await row.getByRole("link").click();
  await page.getByText("6 fixes").or(page.getByText(/\d+ fixes\./)).first().waitFor();
  const near = page.getByRole("link", { name: `${VIGIL_SOURCE}-near` });
  await near.waitFor();
  await check(page, "violation");
  await page.getByRole("button", { name: `Assign ${VIGIL_SOURCE}-near` }).click();
  await page.getByText(`assigned to ${VIGIL_SOURCE}-near`).first().waitFor();
  await page.getByRole("link", { name: "Back to the desk" }).click();
  await row.getByText(`assigned to ${VIGIL_SOURCE}-near`).waitFor();
  await page.getByRole("link", { name: "Guards", exact: true }).click();
  await page.getByLabel("Find by name").fill(VIGIL_SOURCE);
  await page.getByRole("link", { name: VIGIL_SOURCE, exact: true }).click();
  await page.locator(".transitions").getByText(`violation began: ${ZONE}`).waitFor();
  await page.locator(".transitions button").first().click();
  await page.getByRole("status").getByText(VIGIL_SOURCE).first().waitFor(); // why, in plain words
}

async function save(page, name) {
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("#said").getByText(`Zone ${name} is saved`).waitFor();
  await page.getByRole("button", { name: "Save" }).waitFor({ state: "hidden" });
  await page.locator("tr", { hasText: name }).waitFor();
}

async function cornersOf(page) {
  return (await page.getByLabel("Corners").inputValue()).split("\n");
}

async function clickAt(page, ...places) {
  const box = await page.locator(".canvas canvas").boundingBox();
  for (const [x, y] of places) await page.mouse.click(box.x + x * box.width, box.y + y * box.height);
}

async function drag(page, from, by) {
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move(from.x + by.x / 2, from.y + by.y / 2);
  await page.mouse.move(from.x + by.x, from.y + by.y);
  await page.mouse.up();
}

// Where a corner is on the screen: the view was fitted to the shape, the map is Mercator's. `turn`: degrees that the map
// went on round the globe.
async function cornerPlace(page, index, turn = 0) {
  const all = (await cornersOf(page)).map((line) => line.split(", ").map(Number));
  const [lat, lon] = all[index];
  return page.evaluate(async (place) => {
    const { mapOf } = await import("/console/pagemap.js");
    const canvas = document.querySelector(".canvas");
    const { x, y } = mapOf(canvas).project(place);
    const box = canvas.getBoundingClientRect();
    return { x: box.x + x, y: box.y + y };
  }, [lon + turn, lat]);
}
