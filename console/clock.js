// Ages are told by the server's clock: that of a control room's computer may be minutes off.
let ahead_ms = 0;

export function setServerTime(text) {
  ahead_ms = Date.parse(text) - Date.now();
}

export const now = () => Date.now() + ahead_ms;

export const secondsSince = (text) => Math.max(0, (now() - Date.parse(text)) / 1000);

export function ageOf(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

export const age = (text) => ageOf(secondsSince(text));

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

export const moment = (text) => (text ? MOMENT.format(new Date(text)) : "-");

// A day of the control room's, as a date field has it.
export function today() {
  const at = new Date(now());
  const two = (number) => String(number).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

// From one midnight here to the next, which may be 23 or 25 hours later.
export function dayOf(text) {
  const [year, month, day] = text.split("-").map(Number);
  return { since: new Date(year, month - 1, day), until: new Date(year, month - 1, day + 1) };
}
