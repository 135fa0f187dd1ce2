"""A bar chart as SVG, which is readable on light and dark pages and without colour."""

from __future__ import annotations

from xml.sax.saxutils import escape

# Sizes in pixels.
WIDTH = 760
ROW_HEIGHT = 34
LABEL_WIDTH = 290
FIGURE_WIDTH = 70


def bars(figures: dict[str, float], unit: str) -> str:
    """Return a chart with a bar for every name and figure, the longest first. podium's are highlighted."""
    largest = max(figures.values())
    rows = sorted(figures.items(), key=lambda item: -item[1])
    height = ROW_HEIGHT * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="15">',
        f"<title>{escape(unit)}: " + ", ".join(f"{escape(name)} {value:.0f}" for name, value in rows) + "</title>",
        "<style>text{fill:#222} .own{fill:#2563eb} .other{fill:#94a3b8} "
        "@media (prefers-color-scheme: dark){text{fill:#eee} .own{fill:#60a5fa} .other{fill:#64748b}}</style>",
    ]
    for index, (name, value) in enumerate(rows):
        y = index * ROW_HEIGHT
        length = (WIDTH - LABEL_WIDTH - FIGURE_WIDTH) * value / largest
        is_podium = name.startswith("podium")
        css_class = "own" if is_podium else "other"
        weight = ' font-weight="700"' if is_podium else ""
        parts += [
            f'<text x="{LABEL_WIDTH - 10}" y="{y + 21}" text-anchor="end"{weight}>{escape(name)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y + 4}" width="{length:.1f}" height="24" rx="3" class="{css_class}"/>',
            f'<text x="{LABEL_WIDTH + length + 8:.1f}" y="{y + 21}"{weight}>{value:.0f}</text>',
        ]
    parts.append(f'<text x="{LABEL_WIDTH}" y="{height - 8}" font-size="13">{escape(unit)}</text></svg>')
    return "\n".join(parts) + "\n"
