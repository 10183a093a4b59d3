"""Map of an evidence pack: the track of the guard as an inline SVG. Pure.

The projection is local and equirectangular: metres east and north of the alert's point, north up,
one scale both ways. Its error is a part in a thousand within some ten kilometres, which is enough
for the map of a track.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.alerts.evidence.markup import Html, tag

METRES_A_DEGREE = 111_195.0
WIDTH, HEIGHT = 900.0, 620.0
LEAST_SPAN_M = 150.0
NEAR_M = 3_000.0
ARROWS = 14
LABELS = 9
PAUSE_S = 300.0
"""Seconds between two fixes beyond which the line is dashed: the way between them is unknown."""

Row = Mapping[str, Any]


class MapPoint(NamedTuple):
    """Metres east and north of the map's origin; after `MapView.place`, pixels right and down."""

    x: float
    y: float


class MapFix(NamedTuple):
    at: datetime
    point: MapPoint


class MapPlane(NamedTuple):
    """Plane that touches the earth at the origin."""

    lat: float
    lon: float

    def metres(self, lat: float, lon: float) -> MapPoint:
        """Return the metres east and north, by the shorter way around at the 180th meridian."""
        east = (lon - self.lon + 180.0) % 360.0 - 180.0
        return MapPoint(
            east * METRES_A_DEGREE * math.cos(math.radians(self.lat)), (lat - self.lat) * METRES_A_DEGREE
        )


class MapView(NamedTuple):
    """Part of the plane that the picture shows."""

    centre: MapPoint
    pixels_a_metre: float

    def place(self, point: MapPoint) -> MapPoint:
        return MapPoint(
            WIDTH / 2 + (point.x - self.centre.x) * self.pixels_a_metre,
            HEIGHT / 2 - (point.y - self.centre.y) * self.pixels_a_metre,
        )


def track_map(pack: Mapping[str, Any]) -> Html:
    """Return the picture, or a sentence when no position at all is known."""
    alert, site = pack["alert"], pack["place"]["site"]
    fixes = pack["track"]["fixes"]

    origin = _origin(alert, fixes, site)
    if origin is None:
        return tag(
            "p", "No position is known of this alert, its guard or its site: there is no map.", cls="none"
        )

    plane = MapPlane(*origin)
    stops = [
        MapFix(datetime.fromisoformat(fix["recorded_at"]), plane.metres(fix["lat"], fix["lon"]))
        for fix in fixes
    ]
    at = _point(plane, alert)
    its_site = _point(plane, site)
    zones = [(zone, list(_outline(plane, zone))) for zone in pack["place"]["zones"]]

    shown = [stop.point for stop in stops] + ([at] if at else [])
    if its_site and (not shown or min(math.dist(its_site, point) for point in shown) < NEAR_M):
        shown.append(its_site)

    view = _view(shown)
    drawn = [
        *(_zone(view, zone, rings) for zone, rings in zones),
        *_line(view, stops),
        *_arrows(view, stops),
        *_times(view, stops),
        *(_site(view, its_site, site) if its_site else ()),
        *(_alert(view, at) if at else ()),
        *_scale(view),
        *_north(),
    ]

    said = "Map of the track: north is up, the scale is in metres."
    size = {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "aria-label": said}
    return tag("svg", tag("title", said), _arrow_head(), *drawn, **size)


def nice_metres(most: float) -> float:
    """Return the greatest of 1, 2, 5, 10, 20, 50 ... that is not above `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def _origin(alert: Row, fixes: Sequence[Row], site: Row | None) -> tuple[float, float] | None:
    """Return the alert's point.

    Without one, return the fix nearest to the alert in time. Without fixes, return the site's
    point.
    """
    if alert["lat"] is not None:
        return alert["lat"], alert["lon"]
    if fixes:
        moment = datetime.fromisoformat(alert["recorded_at"])
        nearest = min(fixes, key=lambda fix: abs(datetime.fromisoformat(fix["recorded_at"]) - moment))
        return nearest["lat"], nearest["lon"]
    return (site["lat"], site["lon"]) if site and site["lat"] is not None else None


def _point(plane: MapPlane, row: Row | None) -> MapPoint | None:
    if row is None or row["lat"] is None:
        return None
    return plane.metres(row["lat"], row["lon"])


def _view(points: Sequence[MapPoint]) -> MapView:
    xs, ys = [point.x for point in points], [point.y for point in points]
    centre = MapPoint((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    span_x = max(max(xs) - min(xs), LEAST_SPAN_M) * 1.3
    span_y = max(max(ys) - min(ys), LEAST_SPAN_M) * 1.3
    return MapView(centre, min(WIDTH / span_x, HEIGHT / span_y))


def _outline(plane: MapPlane, zone: Row) -> Iterator[list[MapPoint]]:
    """Yield the rings of a zone. A circle has sixty-four corners."""
    shape = json.loads(zone["area"])
    kind, corners = shape["type"], shape["coordinates"]
    if kind == "Point":
        centre, radius = plane.metres(corners[1], corners[0]), zone["radius_m"] or 0.0
        turns = (2 * math.pi * corner / 64 for corner in range(64))
        yield [MapPoint(centre.x + radius * math.cos(t), centre.y + radius * math.sin(t)) for t in turns]
        return
    for rings in [corners] if kind == "Polygon" else corners if kind == "MultiPolygon" else []:
        yield from ([plane.metres(lat, lon) for lon, lat in ring] for ring in rings)


def _coordinates(view: MapView, points: Iterable[MapPoint]) -> str:
    """Return points as SVG coordinates, each at most a little past the edge.

    A point far past the edge looks the same, and no viewer fails over huge numbers.
    """
    placed = (view.place(point) for point in points)
    return " ".join(f"{_bound(p.x):.1f},{_bound(p.y):.1f}" for p in placed)


def _bound(pixels: float) -> float:
    return max(-20_000.0, min(20_000.0, pixels))


def _zone(view: MapView, zone: Row, rings: Sequence[Sequence[MapPoint]]) -> Html:
    path = " ".join(f"M{_coordinates(view, ring)}Z" for ring in rings if ring)
    kind = "forbidden" if zone["kind"] == "forbidden" else "required"
    return tag("path", tag("title", f"{zone['name']} ({zone['kind']})"), d=path, cls=f"zone {kind}")


def _line(view: MapView, stops: Sequence[MapFix]) -> Iterator[Html]:
    """Yield the line from fix to fix, dashed across pauses."""
    run: list[MapPoint] = []
    for index, stop in enumerate(stops):
        before = stops[index - 1] if index else None
        if before is not None and (stop.at - before.at).total_seconds() > PAUSE_S:
            yield tag("polyline", points=_coordinates(view, run), cls="track")
            yield tag("polyline", points=_coordinates(view, [before.point, stop.point]), cls="track silent")
            run = []
        run.append(stop.point)

    if run:
        yield tag("polyline", points=_coordinates(view, run), cls="track")

    for stop in stops if len(stops) <= 500 else (stops[0], stops[-1]):
        x, y = view.place(stop.point)
        yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2", cls="fix")


def _arrow_head() -> Html:
    shape = tag("path", d="M0,0L14,6L0,12Z", cls="head")
    marker = {"markerWidth": "14", "markerHeight": "12", "refX": "7", "refY": "6", "orient": "auto"}
    return tag("defs", tag("marker", shape, id="arrow", **marker))


def _arrows(view: MapView, stops: Sequence[MapFix]) -> Iterator[Html]:
    """Yield some arrows along the line, in the direction of the guard."""
    placed = [view.place(stop.point) for stop in stops]
    length = sum(math.dist(a, b) for a, b in zip(placed, placed[1:], strict=False))
    every, gone = max(length / ARROWS, 25.0), 0.0

    for one, other in zip(placed, placed[1:], strict=False):
        step = math.dist(one, other)
        gone += step
        if gone >= every and step > 0:
            gone = 0.0
            middle = MapPoint((one.x + other.x) / 2, (one.y + other.y) / 2)
            ends = f"{one.x:.1f},{one.y:.1f} {middle.x:.1f},{middle.y:.1f} {other.x:.1f},{other.y:.1f}"
            yield tag("polyline", points=ends, cls="way", **{"marker-mid": "url(#arrow)"})


def _times(view: MapView, stops: Sequence[MapFix]) -> Iterator[Html]:
    """Yield time labels at even steps of time.

    A label that would cover another is left out, but never the first or the last.
    """
    chosen = _chosen(stops)
    taken: list[MapPoint] = []
    for stop in chosen:
        x, y = view.place(stop.point)
        ends = stop in (stops[0], stops[-1])
        if not ends and any(abs(x - t.x) < 62 and abs(y - t.y) < 16 for t in taken):
            continue
        taken.append(MapPoint(x, y))
        yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4", cls="mark")
        yield tag("text", f"{stop.at:%H:%M:%S}", x=f"{x + 7:.1f}", y=f"{y - 5:.1f}", cls="time")


def _chosen(stops: Sequence[MapFix]) -> list[MapFix]:
    if len(stops) <= 2:
        return list(stops)

    first, last = stops[0].at, stops[-1].at
    wanted = [first + (last - first) * step / LABELS for step in range(1, LABELS)]

    between: list[MapFix] = []
    for stop in stops[1:-1]:
        if wanted and stop.at >= wanted[0]:
            between.append(stop)
            wanted = [moment for moment in wanted if moment > stop.at]

    return [stops[0], stops[-1], *between]


def _alert(view: MapView, at: MapPoint) -> Iterator[Html]:
    x, y = view.place(at)
    yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="13", cls="alert ring")
    yield tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="5", cls="alert dot")
    yield tag("text", "ALERT", x=f"{x + 16:.1f}", y=f"{y + 18:.1f}", cls="alert word")


def _site(view: MapView, at: MapPoint, site: Row) -> Iterator[Html]:
    x, y = view.place(at)
    yield tag("rect", x=f"{x - 6:.1f}", y=f"{y - 6:.1f}", width="12", height="12", cls="site")
    yield tag("text", site["name"], x=f"{x + 10:.1f}", y=f"{y + 5:.1f}", cls="site word")


def _scale(view: MapView) -> Iterator[Html]:
    metres = nice_metres(WIDTH / 4 / view.pixels_a_metre)
    length, y = metres * view.pixels_a_metre, HEIGHT - 22
    yield tag("path", d=f"M20,{y - 6:g}V{y:g}H{20 + length:.1f}V{y - 6:g}", cls="scale")
    yield tag("text", f"{metres:,.0f} m", x="24", y=f"{y - 8:g}", cls="scale word")


def _north() -> Iterator[Html]:
    x = WIDTH - 34
    yield tag("path", d=f"M{x:g},18L{x - 9:g},44L{x:g},37L{x + 9:g},44Z", cls="north")
    yield tag("text", "N", x=f"{x - 6:g}", y="62", cls="north word")
