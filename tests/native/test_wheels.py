"""The check of wheels before they are published."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from environment import NEEDS_CORE, ROOT

MODEL = "podium/bundled/podium-mini/config.json"
CORE = "podium/_native.abi3.so"
WINDOWS_CORE = "podium/_native.pyd"
NAME = "podium-0.1.0-cp310-abi3-manylinux_2_28_x86_64.whl"


def check(*arguments):
    """Run the check. Return its exit code and its messages."""
    command = [sys.executable, ROOT / "native" / "check_wheel.py", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True)
    return process.returncode, process.stdout + process.stderr


def write_wheel(path, *names):
    with zipfile.ZipFile(path, "w") as wheel:
        for name in names:
            wheel.writestr(name, "")
    return path


@pytest.mark.parametrize(
    ("platform", "core"),
    [
        ("linux_x86_64", CORE),
        ("manylinux_2_27_x86_64.manylinux_2_28_x86_64", CORE),
        ("manylinux_2_28_aarch64", CORE),
        ("macosx_11_0_arm64", CORE),
        ("macosx_11_0_x86_64", CORE),
        ("win_amd64", WINDOWS_CORE),
    ],
    ids=["linux", "manylinux", "manylinux-arm", "macos-arm", "macos", "windows"],
)
def test_wheel_with_the_core_and_the_model_passes(tmp_path, platform, core):
    assert check(write_wheel(tmp_path / f"podium-0.1.0-cp310-abi3-{platform}.whl", core, MODEL)) == (0, "")
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        pytest.param(NAME, [MODEL], "has no podium/_native", id="no core"),
        pytest.param(NAME, [CORE], "has no podium-mini", id="no model"),
        pytest.param(NAME, [WINDOWS_CORE, MODEL], "has no podium/_native.abi3.so", id="core of another system"),
        pytest.param("podium-0.1.0-cp310-abi3-win_amd64.whl", [CORE, MODEL], "has no podium/_native.pyd", id="core of Linux"),
        pytest.param("podium-0.1.0-cp310-abi3-any.whl", [CORE, MODEL], "with a platform", id="any platform"),
        pytest.param("podium-0.1.0-py3-none-any.whl", [CORE, MODEL], "cp310-abi3", id="pure"),
        pytest.param("podium-0.1.0-cp311-cp311-win_amd64.whl", [CORE, MODEL], "cp310-abi3", id="one version of Python"),
    ],
)
def test_wheel_that_must_not_be_published_fails(tmp_path, name, files, message):
    code, output = check(write_wheel(tmp_path / name, *files))
    assert code == 1
    assert message in output


def test_folder_without_wheels_fails(tmp_path):
    assert check(tmp_path) == (1, "there is no wheel\n")


@NEEDS_CORE
def test_installed_core_computes():
    code, output = check("--installed")
    assert code == 0
    assert "portable" in output
