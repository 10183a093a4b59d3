// Sounds, and flashes the title, as long as a CRITICAL alert has nobody. Does not wait for frames to be drawn: a desk
// behind another window must sound as well.
import { session } from "/console/session.js";
import { isShelved, store } from "/console/store.js";
import { severityWord } from "/console/words.js";

const TITLE = "Vigil";
const FLASH_MS = 1000;
const TONES_HZ = [880, 660];
const TONE_S = 0.22;
const PAUSE_S = 0.9;
const LOUDNESS = 0.5;

let context = null;
let playing = null;
let flashing = null;

const isUnheard = (alert) => alert.severity === "CRITICAL" && alert.status === "NEW" && !isShelved(alert);

export const unheard = () => [...store.alerts.values()].filter(isUnheard);

export function startSound() {
  store.addEventListener("alerts", follow);
  session.addEventListener("opened", follow);
  session.addEventListener("ended", follow);
  document.getElementById("sound").addEventListener("click", allowSound);
  follow();
}

// Browsers let a page sound only after somebody did something on it: called from the log-in and from the button.
export async function allowSound() {
  if (context === null) {
    context = new AudioContext();
    context.addEventListener("statechange", follow);
  }
  // Where the browser forbids it this promise waits for the next click: nobody else may wait with it.
  context.resume().then(follow, follow);
  follow();
}

function follow() {
  const waiting = session.wanted ? unheard().length : 0; // a session that ran out leaves the alarm sounding
  const allowed = context?.state === "running";
  const button = document.getElementById("sound");
  button.hidden = allowed || !session.wanted;
  document.documentElement.dataset.sounding = String(waiting > 0 && allowed);
  if (waiting > 0 && allowed) play();
  else stop();
  flash(waiting);
}

function play() {
  if (playing !== null) return;
  playing = context.createBufferSource();
  playing.buffer = pattern(context);
  playing.loop = true;
  playing.connect(context.destination);
  playing.start();
}

function stop() {
  playing?.stop();
  playing?.disconnect();
  playing = null;
}

// One turn of two tones and a pause, played over and over by the browser itself: no timer that a tab could starve.
function pattern({ sampleRate }) {
  const length = Math.ceil((TONES_HZ.length * TONE_S + PAUSE_S) * sampleRate);
  const buffer = context.createBuffer(1, length, sampleRate);
  const samples = buffer.getChannelData(0);
  TONES_HZ.forEach((hertz, turn) => {
    const first = Math.floor(turn * TONE_S * sampleRate);
    const count = Math.floor(TONE_S * sampleRate);
    for (let at = 0; at < count; at += 1) {
      const swell = Math.sin((Math.PI * at) / count); // no click at either end
      samples[first + at] = LOUDNESS * swell * Math.sin((2 * Math.PI * hertz * at) / sampleRate);
    }
  });
  return buffer;
}

function flash(waiting) {
  clearInterval(flashing);
  flashing = null;
  document.title = TITLE;
  if (waiting === 0) return;
  const loud = `(${waiting}) ${severityWord("CRITICAL")} - ${TITLE}`;
  document.title = loud;
  flashing = setInterval(() => (document.title = document.title === TITLE ? loud : TITLE), FLASH_MS);
}
