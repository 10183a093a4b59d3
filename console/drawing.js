// Drawing with the mouse or a finger: clicks set corners, what is there is dragged. What comes of it is an outline.
import { beside } from "/console/features.js";
import { EMPTY, cornersOf, drawn, moved, split, withCircle, withCorner, without } from "/console/outline.js";

const REACH_PIXELS = 10;
const FIRST_RADIUS_M = 100;

export class Drawing extends EventTarget {
  outline = EMPTY;
  #page;
  #drawing = null; // "polygon", "circle": what the next click begins or goes on with
  #held = null;

  // `page`: a PageMap with the sources draft and handles.
  constructor(page) {
    super();
    this.#page = page;
  }

  get drawing() {
    return this.#drawing;
  }

  // Once the map is there.
  listen() {
    const { map } = this.#page;
    map.on("click", (event) => this.#click(event));
    map.on("dblclick", (event) => {
      if (!this.#drawing) return;
      event.preventDefault();
      this.finish();
    });
    map.on("contextmenu", (event) => this.#remove(event));
    for (const [down, move, up] of [["mousedown", "mousemove", "mouseup"], ["touchstart", "touchmove", "touchend"]]) {
      map.on(down, (event) => this.#take(event));
      map.on(move, (event) => this.#drag(event));
      map.on(up, () => this.#drop());
    }
    this.#draw();
  }

  begin(kind) {
    this.#drawing = kind;
    this.set(EMPTY);
  }

  // The polygon is as it stands.
  finish() {
    if (!this.#drawing) return;
    this.#drawing = null;
    this.set(this.outline);
  }

  set(outline) {
    this.outline = outline;
    this.#draw();
    this.dispatchEvent(new Event("changed"));
  }

  #draw() {
    const { map } = this.#page;
    if (!map) return;
    const { shape, handles } = drawn(this.outline);
    this.#page.draw("draft", shape);
    this.#page.draw("handles", this.#drawing ? handles.filter(({ properties }) => properties.kind === "corner") : handles);
    map.getCanvas().classList.toggle("drawing", this.#drawing !== null);
  }

  #click(event) {
    const place = placeOf(event);
    if (this.#drawing === "circle") {
      this.#drawing = null;
      this.set(withCircle(place, FIRST_RADIUS_M));
    } else if (this.#drawing === "polygon") {
      const hit = this.#at(event.point, ["corner"]);
      if (hit) {
        if (hit.path === "0.0.0" && cornersOf(this.outline).length > 2) this.finish(); // back where it began
      } else this.set(withCorner(this.outline, place));
    }
  }

  #take(event) {
    if (this.#drawing || event.originalEvent.button > 0) return;
    const hit = this.#at(event.point, ["corner", "centre", "rim", "middle"]);
    if (!hit) return;
    event.preventDefault(); // the map stays
    this.#held = hit;
    if (hit.kind !== "middle") return;
    const [outline, path] = split(this.outline, hit.path, placeOf(event));
    this.#held = { kind: "corner", path };
    this.set(outline);
  }

  #drag(event) {
    if (this.#held) this.set(moved(this.outline, this.#held, placeOf(event)));
  }

  #drop() {
    this.#held = null;
  }

  #remove(event) {
    const hit = this.#at(event.point, ["corner"]);
    if (!hit || this.#drawing) return;
    event.preventDefault();
    this.set(without(this.outline, hit.path));
  }

  // What of these kinds is near a point of the screen; the first kind before the others.
  #at({ x, y }, kinds) {
    const { map } = this.#page;
    const here = map.unproject([x, y]).toArray();
    const near = drawn(this.outline).handles.filter(({ geometry }) => {
      const at = map.project(beside(geometry.coordinates, here)); // the map shows the globe again and again
      return Math.hypot(at.x - x, at.y - y) <= REACH_PIXELS;
    });
    return kinds.map((kind) => near.find(({ properties }) => properties.kind === kind)).find((found) => found)?.properties ?? null;
  }
}

const placeOf = ({ lngLat }) => lngLat.toArray().map((degrees) => Number(degrees.toFixed(7)));
