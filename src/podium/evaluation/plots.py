"""Plots as SVG, written by hand: they need no package, no network, and no colour to be read."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["bars", "lines"]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 280, 88, 52, 14  # room for labels of 20 units, which phones need
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 5", "12 4")

Point = tuple[float, float]


def bars(title: str, values: Sequence[float], labels: Sequence[str], *, y_name: str, x_name: str) -> str:
    """Return a bar per value, above or below a line at 0; each says its label and value when pointed at."""
    reach = max((abs(value) for value in values), default=1.0) or 1.0
    step = (WIDTH - LEFT - 8) / max(len(values), 1)
    middle, half = (TOP + HEIGHT - BOTTOM) / 2, (HEIGHT - BOTTOM - TOP) / 2
    drawn = []
    for at, (value, label) in enumerate(zip(values, labels, strict=True)):
        tall = max(abs(value) / reach * half, 0.5)
        top = middle - tall if value >= 0 else middle
        kind = "up" if value > 0 else "down" if value < 0 else "same"
        left, wide = LEFT + at * step, max(step - 0.5, 0.5)
        drawn.append(
            f'<rect class="{kind}" x="{left:.2f}" y="{top:.2f}" width="{wide:.2f}" height="{tall:.2f}">'
            f"<title>{escape(label)}: {value:+.3f}</title></rect>"
        )
    ticks = [(middle - half, f"+{reach:.2f}"), (middle, "0"), (middle + half, f"−{reach:.2f}")]
    return _figure(title, [*drawn, *_ticks(ticks), _line([(LEFT, middle), (WIDTH - 8, middle)], "axis", "")], x_name, y_name)


def lines(
    title: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    x_name: str,
    y_name: str,
    x_reach: tuple[float, float],
    y_most: float = 1.0,
) -> str:
    """Return a line per series, told apart by its dashes; points are (x, y), x within `x_reach`, y from 0 to `y_most`."""
    low, high = x_reach

    def place(point: Point) -> Point:
        x = LEFT + (point[0] - low) / ((high - low) or 1) * (WIDTH - LEFT - 8)
        return x, HEIGHT - BOTTOM - min(point[1] / (y_most or 1), 1) * (HEIGHT - BOTTOM - TOP)

    drawn = [
        _line([place(point) for point in points], f"series s{at % 6}", DASHES[at % 6]) for at, (_, points) in enumerate(series)
    ]
    ticks = [(place((low, y_most * share))[1], f"{y_most * share:.2g}") for share in (0, 0.5, 1)]
    ends = [
        f'<text x="{LEFT}" y="{HEIGHT - BOTTOM + 20}">{low:.3g}</text>',
        f'<text x="{WIDTH - 8}" y="{HEIGHT - BOTTOM + 20}" text-anchor="end">{high:.3g}</text>',
    ]
    legend = [f"<span>{_sample(at)} {escape(name)}</span>" for at, (name, _) in enumerate(series)]
    axis = _line([(LEFT, HEIGHT - BOTTOM), (WIDTH - 8, HEIGHT - BOTTOM)], "axis", "")
    return _figure(title, [*drawn, *_ticks(ticks), *ends, axis], x_name, y_name, " ".join(legend))


def _sample(at: int) -> str:
    line = _line([(0, 4), (34, 4)], f"series s{at % 6}", DASHES[at % 6])
    return f'<svg width="34" height="8" aria-hidden="true">{line}</svg>'


def _figure(title: str, drawn: Sequence[str], x_name: str, y_name: str, legend: str = "") -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    names = (
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="translate(20 {middle}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title, quote=True)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(drawn)}{names}</svg><p class="legend">{legend}</p></figure>'
    )


def _ticks(places: Sequence[tuple[float, str]]) -> list[str]:
    return [f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>' for y, text in places]


def _line(points: Sequence[Point], kind: str, dashes: str) -> str:
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"' + (f' stroke-dasharray="{dashes}"' if dashes else "") + "/>"
