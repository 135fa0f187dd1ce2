"""Measure how much disk space podium and each of its extras take, and the time and memory of a first ranking.

    python bench/sizes.py

Builds the wheel of this platform, and installs it with each extra into a new environment, one after the other. The size is that
of the folder site-packages, with compiled modules, and without pip and setuptools. Writes docs/sizes.json, from which
`make docs` writes the tables of the README and docs/install.md. Downloads about 500 MB if pip has not cached them.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "sizes.json"
EXTRAS = ("onnx", "index", "redis", "serve", "eval", "batch", "ray", "parquet", "decoders", "all")
INSTALLERS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")
RUNS = 7
FIRST_RANKING = """
import re, pathlib, podium
reranker = podium.load("podium-mini", precision="float32")
reranker.rerank("a red fruit", ["a ripe apple", "the sea at night"])
print(int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) * 1024 / 1e6)
"""


def build_wheel(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("podium-*.whl"))


def install(environment: Path, wheel: Path, extra: str) -> Path:
    """Create an environment with podium and an extra, "" for none, and return its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    requirement = f"{wheel}[{extra}]" if extra else str(wheel)
    subprocess.run([environment / "bin" / "python", "-m", "pip", "install", "--quiet", requirement], check=True)
    return next((environment / "lib").glob("python*/site-packages"))


def packages(site_packages: Path) -> dict[str, float]:
    """Return the megabytes of each entry of site-packages, the largest first. Entries of pip and setuptools are left out."""
    sizes: dict[str, float] = {}
    for entry in site_packages.iterdir():
        name = entry.name.partition(".dist-info")[0].partition("-")[0]
        if name in INSTALLERS:
            continue
        files = [entry] if entry.is_file() else [path for path in entry.rglob("*") if path.is_file()]
        name = name.removesuffix(".libs")
        sizes[name] = sizes.get(name, 0.0) + sum(path.stat().st_size for path in files) / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def first_ranking(environment: Path, cache: Path) -> tuple[float, float]:
    """Return the least seconds of a process that ranks once, and its peak memory in megabytes.

    An earlier process has packed the weights. The seconds are those on the clock, so the machine must not do other work.
    """
    command = [environment / "bin" / "python", "-c", FIRST_RANKING]
    variables = {"PODIUM_CACHE": str(cache)}
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        process = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
        times.append(time.perf_counter() - start)
    return min(times), float(process.stdout)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        environment = folder / "environment"
        contents = packages(install(environment, wheel, ""))
        seconds, peak = first_ranking(environment, folder / "cache")
        print(f"first ranking in float32: {seconds:.2f} s, {peak:.0f} MB", flush=True)
        total = sum(contents.values())
        extras = {}
        for extra in EXTRAS:
            extras[extra] = sum(packages(install(environment, wheel, extra)).values()) - total
            print(f"{extra}: {extras[extra]:.0f} MB", flush=True)
    results = {
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "total_mb": round(total, 1),
        "packages_mb": {package: round(size, 1) for package, size in contents.items() if size >= 1},
        "extras_mb": {extra: round(size, 1) for extra, size in extras.items()},
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
