// 10,000 guards on the map while 500 positions a second arrive: how long the page takes for a frame. Prints one line of JSON.
import { launch, logIn, screen } from "./screens.mjs";

const { VIGIL_LOGIN, VIGIL_PASSWORD } = process.env;
const GUARDS = 10_000;
const FRAMES_A_SECOND = 4; // as the gateway sends positions
const POSITIONS_A_SECOND = 500;
const SECONDS = 10;

const browser = await launch();
try {
  const page = await screen(browser);
  await logIn(page, VIGIL_LOGIN, VIGIL_PASSWORD);
  await page.locator(".canvas canvas").waitFor();
  const figures = await page.evaluate(async ({ guards, each, pause_ms, seconds }) => {
    const { store } = await import("/console/store.js");
    const rows = [];
    for (let at = 0; at < 200; at += 1) {
      rows.push({ id: `a${at}`, tenant_id: 1, alert_type: "INTRUSION", severity: "HIGH", status: "NEW", source_id: `sensor-${at}`, message: "door", occurrences: 1,
        received_at: new Date().toISOString(), shelved_until: null, lat: null, lon: null });
    }
    const position = (number, moved) => ({ guard_id: `guard-${number}`, lat: 12.9 + (number % 100) / 500 + moved, lon: 77.5 + Math.floor(number / 100) / 500 + moved,
      accuracy: 15, speed: 1.2, heading: number % 360, recorded_at: new Date().toISOString(), in_geofence: true, geofence_violation: number % 50 === 0 });
    store.take({ type: "snapshot", data: { alerts: rows, positions: Array.from({ length: guards }, (_, number) => position(number, 0)), devices: [] } });
    await new Promise((resolve) => setTimeout(resolve, 5000));
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
    const gaps = [];
    let last = performance.now();
    let next = 0;
    let sent = 0;
    const end = last + seconds * 1000;
    const feed = setInterval(() => {
      const moved = Math.random() / 1000;
      store.take({ type: "positions", data: Array.from({ length: each }, () => position(next++ % guards, moved)) });
      sent += each;
    }, pause_ms);
    await new Promise((resolve) => {
      const draw = (now) => {
        gaps.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(draw);
        else resolve();
      };
      requestAnimationFrame(draw);
    });
    clearInterval(feed);
    gaps.sort((a, b) => a - b);
    const share = (part) => Math.round(gaps[Math.floor(gaps.length * part)]);
    return { guards: store.guards.size, positions: sent, frames: gaps.length, p50_ms: share(0.5), p99_ms: share(0.99), longest_task_ms: Math.round(Math.max(0, ...tasks)), tasks_over_100_ms: tasks.filter((task) => task > 100).length };
  }, { guards: GUARDS, each: POSITIONS_A_SECOND / FRAMES_A_SECOND, pause_ms: 1000 / FRAMES_A_SECOND, seconds: SECONDS });
  process.stdout.write(`${JSON.stringify(figures)}\n`);
} finally {
  await browser.close();
}
