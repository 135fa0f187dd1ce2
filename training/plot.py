"""Plot the loss of the training by step: python training/plot.py WORK/progress.jsonl OUT.svg"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 44, 30
WINDOW = 25  # the number of steps whose mean loss is drawn
FIRST_STEP = 5  # the means of fewer steps vary too much to be drawn


def plot(losses: list[float]) -> str:
    """Return an SVG of the mean loss of the last WINDOW steps, by step."""
    means = [sum(losses[max(0, step - WINDOW) : step]) / min(step, WINDOW) for step in range(FIRST_STEP, len(losses) + 1)]
    y_max = max(means)
    x_scale = (WIDTH - LEFT - 8) / max(len(means) - 1, 1)
    y_scale = (HEIGHT - BOTTOM - 8) / y_max
    points = " ".join(
        f"{LEFT + index * x_scale:.1f},{HEIGHT - BOTTOM - mean * y_scale:.1f}" for index, mean in enumerate(means)
    )
    floor = HEIGHT - BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" '
        f'role="img" aria-label="loss by step, from {means[0]:.2f} to {means[-1]:.2f}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<path d="M{LEFT} 8V{floor}H{WIDTH - 8}" fill="none" stroke="#888"/>'
        f'<polyline points="{points}" fill="none" stroke="#0a58ca" stroke-width="2"/>'
        f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end">0</text>'
        f'<text x="{LEFT - 6}" y="16" text-anchor="end">{y_max:.2f}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}">loss, mean of {WINDOW} steps</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 8}" text-anchor="end">step {len(losses)}</text></svg>\n'
    )


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines()
    # A step that was repeated after an interruption counts once.
    by_step = {row["step"]: row["loss"] for row in map(json.loads, lines)}
    Path(sys.argv[2]).write_text(plot([by_step[step] for step in sorted(by_step)]))
