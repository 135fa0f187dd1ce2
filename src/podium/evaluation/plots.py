"""Draw plots as SVG, without a plotting package. They load nothing from a network and are readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["bar_chart", "line_chart"]

WIDTH, HEIGHT = 640, 280  # in the units of the SVG, like all coordinates in this module
LEFT, RIGHT, TOP, BOTTOM = 88, 8, 14, 52  # margins, with room for labels in the font size of 20 that phones get
DASHES = ("", "7 4", "2 3", "9 3 2 3", "1 5", "12 4")  # `stroke-dasharray` of the first series, the second, …
MIDDLE = (TOP + HEIGHT - BOTTOM) / 2  # the y of a bar chart's axis
AXIS_Y = HEIGHT - BOTTOM  # the y of a line chart's x axis
END_X = WIDTH - RIGHT  # the right end of the x axis

Point = tuple[float, float]


def bar_chart(title: str, values: Sequence[float], labels: Sequence[str], *, y_name: str, x_name: str) -> str:
    """Return a bar chart with positive values above its axis and negative values below it.

    A bar's label and value appear when the pointer is on the bar.
    """
    largest = max((abs(value) for value in values), default=1.0) or 1.0
    max_height = MIDDLE - TOP
    step = (END_X - LEFT) / max(len(values), 1)
    shapes = []
    for index, (value, label) in enumerate(zip(values, labels, strict=True)):
        height = max(abs(value) / largest * max_height, 0.5)
        top = MIDDLE - height if value >= 0 else MIDDLE
        direction = "up" if value > 0 else "down"
        css_class = "same" if value == 0 else direction
        shapes.append(
            f'<rect class="{css_class}" x="{LEFT + index * step:.2f}" y="{top:.2f}" width="{max(step - 0.5, 0.5):.2f}" '
            f'height="{height:.2f}"><title>{escape(label)}: {value:+.3f}</title></rect>'
        )
    ticks = _ticks([(MIDDLE - max_height, f"+{largest:.2f}"), (MIDDLE, "0"), (MIDDLE + max_height, f"−{largest:.2f}")])
    return _figure(title, [*shapes, *ticks, _line([(LEFT, MIDDLE), (END_X, MIDDLE)], "axis")], x_name, y_name)


def line_chart(
    title: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    x_name: str,
    y_name: str,
    x_range: tuple[float, float],
    y_max: float = 1.0,
) -> str:
    """Return a line chart of (name, points) series, which differ in their dashes.

    Points are (x, y), with x within `x_range` and y of at least 0. Points above `y_max` are drawn at `y_max`.
    """
    low, high = x_range

    def svg_point(point: Point) -> Point:
        x = LEFT + (point[0] - low) / ((high - low) or 1) * (END_X - LEFT)
        return x, AXIS_Y - min(point[1] / (y_max or 1), 1) * (AXIS_Y - TOP)

    polylines = [_series_line(index, [svg_point(point) for point in points]) for index, (_, points) in enumerate(series)]
    ticks = _ticks([(svg_point((low, y_max * share))[1], f"{y_max * share:.2g}") for share in (0, 0.5, 1)])
    x_labels = [
        f'<text x="{LEFT}" y="{AXIS_Y + 20}">{low:.3g}</text>',
        f'<text x="{END_X}" y="{AXIS_Y + 20}" text-anchor="end">{high:.3g}</text>',
    ]
    axis = _line([(LEFT, AXIS_Y), (END_X, AXIS_Y)], "axis")
    legend = " ".join(f"<span>{_legend_line(index)} {escape(name)}</span>" for index, (name, _) in enumerate(series))
    return _figure(title, [*polylines, *ticks, *x_labels, axis], x_name, y_name, legend)


def _figure(title: str, shapes: Sequence[str], x_name: str, y_name: str, legend: str = "") -> str:
    axis_names = (
        f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="translate(20 {MIDDLE}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title, quote=True)}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(shapes)}{axis_names}</svg><p class="legend">{legend}</p></figure>'
    )


def _legend_line(index: int) -> str:
    return f'<svg width="34" height="8" aria-hidden="true">{_series_line(index, [(0, 4), (34, 4)])}</svg>'


def _ticks(labels: Sequence[tuple[float, str]]) -> list[str]:
    """Return the labels of the y axis as SVG. `labels` has the y coordinate and the text of each label."""
    return [f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>' for y, text in labels]


def _series_line(index: int, points: Sequence[Point]) -> str:
    style = index % len(DASHES)
    return _line(points, f"series s{style}", DASHES[style])


def _line(points: Sequence[Point], css_class: str, dashes: str = "") -> str:
    path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polyline class="{css_class}" points="{path}"' + (f' stroke-dasharray="{dashes}"' if dashes else "") + "/>"
