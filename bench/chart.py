"""A bar chart as SVG, readable on light and dark pages and without colour. It needs no package."""

from __future__ import annotations

from xml.sax.saxutils import escape

ROW, LABEL, WIDTH, FIGURE = 34, 290, 760, 70


def bars(figures: dict[str, float], unit: str) -> str:
    """Return bars with names and figures, the longest first. podium's bars have another colour and bold text."""
    largest = max(figures.values())
    rows = sorted(figures.items(), key=lambda item: -item[1])
    height = ROW * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="15">',
        f"<title>{escape(unit)}: " + ", ".join(f"{escape(name)} {value:.0f}" for name, value in rows) + "</title>",
        "<style>text{fill:#222} .own{fill:#2563eb} .other{fill:#94a3b8} "
        "@media (prefers-color-scheme: dark){text{fill:#eee} .own{fill:#60a5fa} .other{fill:#64748b}}</style>",
    ]
    for index, (name, value) in enumerate(rows):
        y = index * ROW
        length = (WIDTH - LABEL - FIGURE) * value / largest
        is_podium = name.startswith("podium")
        css_class = "own" if is_podium else "other"
        weight = ' font-weight="700"' if is_podium else ""
        parts += [
            f'<text x="{LABEL - 10}" y="{y + 21}" text-anchor="end"{weight}>{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y + 4}" width="{length:.1f}" height="24" rx="3" class="{css_class}"/>',
            f'<text x="{LABEL + length + 8:.1f}" y="{y + 21}"{weight}>{value:.0f}</text>',
        ]
    parts.append(f'<text x="{LABEL}" y="{height - 8}" font-size="13">{escape(unit)}</text></svg>')
    return "\n".join(parts) + "\n"
