#!/usr/bin/env bash
# Builds the sdist, and from it the wheel of this platform, and runs the tests with the installed wheel where no compiler is found,
# and without ONNX Runtime.
#
#   native/test_wheel.sh [arguments of pytest]        (make test-wheel)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
home=.venv/wheel
[ -e $home/bin/abi3audit ] || { "$python" -m venv $home && $home/bin/python -m pip install --quiet build auditwheel abi3audit; }

rm -rf .wheel && mkdir -p .wheel/bin
$home/bin/python -m build --quiet --sdist --outdir .wheel .
PODIUM_REQUIRE_CORE=1 $home/bin/python -m pip wheel --quiet --no-deps --wheel-dir .wheel .wheel/podium-*.tar.gz
$home/bin/python native/check_wheel.py .wheel/podium-*.whl
$home/bin/abi3audit --strict .wheel/podium-*.whl
$home/bin/auditwheel show .wheel/podium-*.whl | grep manylinux

# A failed build must not become a wheel without the native core.
if PODIUM_REQUIRE_CORE=1 CXX=/bin/false $home/bin/python -m pip wheel --quiet --no-deps --wheel-dir .wheel/none . 2>.wheel/log; then
  echo "a build without a compiler did not fail" >&2
  exit 1
fi

# All programs of the machine, except those that compile.
for program in /usr/local/bin/* /usr/bin/* /bin/*; do
  case $(basename "$program") in
    c++* | g++* | gcc* | cc | clang* | c[89]9* | *-gnu-g* | *-gnu-cpp* | cmake* | ninja* | ld | ld.*) ;;
    *) ln -sf "$program" .wheel/bin/ ;;
  esac
done
"$python" -m venv --clear .venv/wheel-test
export PATH=$PWD/.venv/wheel-test/bin:$PWD/.wheel/bin
! command -v c++ g++ cc gcc cmake
python -m pip install --quiet --upgrade 'pip>=25.1'
python -m pip install --quiet .wheel/podium-*.whl
python native/check_wheel.py --installed
python -m pip install --quiet --group dev
python -m pip uninstall --quiet --yes onnxruntime onnx  # the wheel's models run without the extra
python -c 'import podium, sys; sys.exit("site-packages" not in podium.__file__)'
exec python -m pytest -p no:cacheprovider -n auto "${@:-tests}"
