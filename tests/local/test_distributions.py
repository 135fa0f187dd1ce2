"""Models in packages of their own, which are found by an entry point."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import pytest

import podium
from commands import run_in_process
from environment import NEEDS_CORE, PARITY_MODELS, ROOT
from podium.bundled import folder_of
from podium.errors import InvalidInput, ModelError, ModelNotFound
from podium.local.files.distributions import EXTRAS, installed_models
from podium.local.files.resolve import find_model

PACKAGE = ROOT / "models" / "podium-multi"
MODEL = PACKAGE / "src" / "podium_multi" / "model"
WITH_BERT = f"import pathlib\nFOLDER = pathlib.Path({str(PARITY_MODELS / 'bert')!r})"
TEXTS = ["a list of words", "red"]


@pytest.fixture(scope="module")
def wheel_contents(tmp_path_factory):
    """A folder with the content of the wheel of podium-multi. Its model is a small random one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "podium-multi"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("model", "build", "*.egg-info"))
    shutil.copytree(PARITY_MODELS / "late", source / "src" / "podium_multi" / "model")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True)
    (wheel,) = folder.glob("podium_multi-1-*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site-packages")
    return folder / "site-packages"


@pytest.fixture
def multi(wheel_contents, monkeypatch):
    """Install the wheel for one test."""
    monkeypatch.syspath_prepend(wheel_contents)
    yield
    sys.modules.pop("podium_multi", None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that installs a package with a module and the entry point of a model."""

    def install(module, name="acme-reranker"):
        (tmp_path / "acme_model.py").write_text(module)
        information = tmp_path / "acme_model-3.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-model\nVersion: 3\n")
        (information / "entry_points.txt").write_text(f"[podium.models]\n{name} = acme_model:FOLDER\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("acme_model", None)


def test_wheel_has_all_files_of_the_model(wheel_contents):
    names = {path.name for path in (wheel_contents / "podium_multi" / "model").iterdir()}
    assert names == {path.name for path in (PARITY_MODELS / "late").iterdir()}


@pytest.mark.usefixtures("multi")
def test_model_is_loaded_by_its_name():
    reranker = podium.load("podium-multi")
    assert reranker.rerank("rank the words", TEXTS).revision == "v1"
    assert reranker.rank("rank the words", TEXTS) == podium.load(PARITY_MODELS / "late").rank("rank the words", TEXTS)


QUESTIONS = {
    "de": ("Was ist die Hauptstadt von Deutschland?", ["München ist die Hauptstadt von Bayern.", "Berlin ist die Hauptstadt."]),
    "es": ("¿Cuál es la capital de Francia?", ["Lyon is a city in France.", "Paris is the capital of France."]),
    "ja": ("日本の首都はどこですか", ["大阪は日本の大きな都市です。", "東京は日本の首都である。"]),
    "zh": ("法国的首都是哪里", ["里昂是法国的城市。", "巴黎是法国的首都。"]),
}


@NEEDS_CORE
@pytest.mark.parametrize(("query", "texts"), QUESTIONS.values(), ids=QUESTIONS)
def test_real_model_answers_questions_in_many_languages(query, texts):
    with podium.load(MODEL) as reranker:
        assert reranker.rerank(query, texts)[0].index == 1


def test_wheel_contains_the_files_of_the_real_model():
    """The pattern of package-data has no folders, and the card is one of the files."""
    assert (MODEL / "README.md").exists()
    assert all(path.is_file() for path in MODEL.iterdir())
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 90_000_000


@pytest.mark.usefixtures("multi")
def test_installed_model_is_listed():
    _, output, _ = run_in_process("models")
    assert any("podium-multi" in line and "installed, v1" in line for line in output.splitlines())


@pytest.mark.usefixtures("multi")
def test_options_of_the_hub_are_refused():
    with pytest.raises(InvalidInput, match="installed package"):
        podium.load("podium-multi", revision="main")


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_missing_package_is_named_with_its_extra(name, extra):
    with pytest.raises(ModelNotFound, match=f"extra '{extra}', which is not installed; .*pip install ./models/{name}"):
        podium.load(name)
    assert name not in [files.name for files in installed_models()]


def test_misspelt_name_suggests_the_model():
    with pytest.raises(ModelNotFound, match="did you mean podium-multi"):
        podium.load("podium-mult")


def test_any_package_can_have_a_model(package):
    package(WITH_BERT)
    assert podium.load("acme-reranker").rerank("rank", TEXTS).revision == "v3"


def test_bundled_models_precede_those_in_packages(package):
    package(WITH_BERT, name="podium-mini")
    assert find_model("podium-mini").folder == folder_of("podium-mini")


@pytest.mark.parametrize(
    "module",
    [
        "raise OSError",
        "raise SystemExit(0)",
        "import missing_package",
        "FOLDER = 'here'",
        "",
        "import pathlib\nFOLDER = pathlib.Path('missing')",
    ],
    ids=["error", "exit", "import", "string", "no-folder", "missing-folder"],
)
def test_damaged_package_is_an_error(package, module):
    package(module)
    with pytest.raises(ModelError, match="install the package again"):
        podium.load("acme-reranker")
    assert installed_models() == []


def test_package_with_an_invalid_list_of_entry_points_hides_no_other_model(package, tmp_path):
    package(WITH_BERT)
    broken = tmp_path / "broken-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[podium.models]\na line without a value\n")
    assert [model.name for model in installed_models()] == ["acme-reranker"]


@pytest.mark.parametrize(
    "content",
    [b"[podium.models]\na line without a value\nacme-reranker = acme_model:FOLDER\n", b"[podium.models]\nacme-reranker\n"],
    ids=["another-line", "its-line"],
)
def test_model_of_a_package_with_an_invalid_list_of_entry_points_is_an_error(package, tmp_path, content):
    package(WITH_BERT)
    (tmp_path / "acme_model-3.dist-info" / "entry_points.txt").write_bytes(content)
    with pytest.raises(ModelError, match=r"entry_points.txt of the package with the model acme-reranker is damaged"):
        podium.load("acme-reranker")


def test_package_without_a_version_has_no_revision(package, tmp_path):
    package(WITH_BERT)
    (tmp_path / "acme_model-3.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-model\n")
    assert podium.load("acme-reranker").rerank("rank", TEXTS).revision is None
