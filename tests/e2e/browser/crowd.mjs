// 10,000 guards on the map while 500 positions a second arrive by the feed: how long the page takes for a frame.
import { launch, logIn, ordered, say, screen } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD, GUARDS, SECONDS } = process.env;

const browser = await launch();
try {
  const page = await screen(browser);
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.locator(".canvas canvas").waitFor();
  say("ready");
  await ordered("sent");
  await page.getByText(`${GUARDS} guards on the map`).waitFor({ timeout: 60_000 });
  say("filled");
  await ordered("measure");
  say(`measured ${JSON.stringify(await page.evaluate(measure, Number(SECONDS)))}`);
  if (page.errors.length) throw new Error(`the page said: ${page.errors.join("; ")}`);
} finally {
  await browser.close();
}

// In the page: the time from each frame to the next, the tasks that kept it from one, and the guards that moved.
async function measure(seconds) {
  const { store } = await import("/console/store.js");
  const tasks = [];
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  let moved = 0;
  store.addEventListener("guards", ({ detail }) => (moved += detail ? [...detail].length : 0));
  const gaps = [];
  let last = performance.now();
  const end = last + seconds * 1000;
  await new Promise((resolve) => {
    const draw = (now) => {
      gaps.push(now - last);
      last = now;
      if (now < end) requestAnimationFrame(draw);
      else resolve();
    };
    requestAnimationFrame(draw);
  });
  gaps.sort((a, b) => a - b);
  const share = (part) => Math.round(gaps[Math.floor(gaps.length * part)]);
  return { guards: store.guards.size, moved, frames: gaps.length, p50_ms: share(0.5), p99_ms: share(0.99), longest_task_ms: Math.round(Math.max(0, ...tasks)) };
}
