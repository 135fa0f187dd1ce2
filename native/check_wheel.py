"""Check that a wheel has the native core, for all versions of Python: python native/check_wheel.py FILE_OR_FOLDER…

With --installed, check that podium is installed with its native core in the environment of this Python, and that it computes.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

# A wheel can have several platforms, such as manylinux_2_27_x86_64.manylinux_2_28_x86_64.
PLATFORM = r"(manylinux\w+_|linux_)(x86_64|aarch64)|macosx_\d+_\d+_(x86_64|arm64)|win_amd64"
NAME = re.compile(rf"podium-[\w.]+-cp310-abi3-({PLATFORM})(\.({PLATFORM}))*\.whl")


def problems(wheel: Path) -> list[str]:
    """Return what is wrong with a wheel. A wheel without the core would replace one that has it, without an error."""
    errors = []
    if not NAME.fullmatch(wheel.name):
        errors.append("its name is not podium-VERSION-cp310-abi3-PLATFORM.whl, with a platform for which podium is published")
    names = zipfile.ZipFile(wheel).namelist()
    core = "podium/_native.pyd" if wheel.stem.endswith("win_amd64") else "podium/_native.abi3.so"
    if core not in names:
        errors.append(f"it has no {core}")
    if "podium/bundled/podium-mini/config.json" not in names:
        errors.append("it has no podium-mini")
    return errors


def check_installed() -> None:
    """Raise an error if podium or its native core is not installed."""
    import podium
    import podium._native

    reranker = podium.load("podium-mini", runtime="native")
    ranking = reranker.rerank("a red fruit", ["the sea at night", "a ripe red apple"])
    assert [result.index for result in ranking] == [1, 0]
    instruction_sets = podium._native.instruction_sets()
    # Processors without AVX2 and NEON are older than 2013. So a core with nothing else was built for another processor.
    assert instruction_sets != ["portable"], "the core has no kernels for this processor"
    print(f"{podium._native.__file__}: {', '.join(instruction_sets)}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--installed"]:
        check_installed()
    else:
        paths = [Path(argument) for argument in sys.argv[1:]]
        wheels = [wheel for path in paths for wheel in (path.glob("*.whl") if path.is_dir() else [path])]
        errors = [f"{wheel}: {problem}" for wheel in wheels for problem in problems(wheel)]
        sys.exit("\n".join(errors) or (0 if wheels else "there is no wheel"))
