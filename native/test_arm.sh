#!/usr/bin/env bash
# Cross-compiles the native core for 64-bit ARM, and runs its tests under an emulator, on processors with different instructions.
#
#   native/test_arm.sh        (make test-arm)
#
# Needs Debian or Ubuntu on x86-64, and no rights: the compiler, the emulator, Python and the libraries are unpacked in .arm, which
# takes a download of about 200 MB. PYTHON_X86 is a Python with podium and its native core, whose scores must be the same.
set -euo pipefail
cd "$(dirname "$0")/.."
arm=$PWD/.arm tools=$PWD/.arm/tools sysroot=$PWD/.arm/sysroot site=$PWD/.arm/site venv=$PWD/.venv/arm
python_x86=${PYTHON_X86:-.venv/dev/bin/python}
. /etc/os-release
case "$ID $(uname -m)" in
  "debian x86_64") x86=http://deb.debian.org/debian arm64=$x86 components=main ;;
  "ubuntu x86_64") x86=http://archive.ubuntu.com/ubuntu arm64=http://ports.ubuntu.com/ubuntu-ports components="main universe" ;;
  *) echo "test-arm needs Debian or Ubuntu on x86-64; on ARM, run make test" >&2; exit 1 ;;
esac

# download ARCHITECTURE MIRROR STATUS COMMAND…: run apt-get with lists and archives in .arm. STATUS lists the installed packages.
download() {
  local root=$arm/apt-$1
  mkdir -p "$root"/{lists,cache/archives}/partial
  echo "deb [signed-by=/usr/share/keyrings/$ID-archive-keyring.gpg] $2 $VERSION_CODENAME $components" >"$root/sources.list"
  (cd "$root/cache/archives" && apt-get -qq -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User="$(id -un)" \
    -o Debug::NoLocking=1 -o Dir::Etc::SourceList="$root/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$root/lists" \
    -o Dir::State::Status="$3" -o Dir::Cache="$root/cache" -o Dir::Cache::Archives="$root/cache/archives" "${@:4}")
}

# unpack ARCHITECTURE FOLDER
unpack() {
  mkdir -p "$2"
  for archive in "$arm/apt-$1"/cache/archives/*.deb; do dpkg-deb --extract "$archive" "$2"; done
  rm -r "$arm/apt-$1"
}

if [ ! -e "$tools/unpacked" ]; then
  download amd64 "$x86" /var/lib/dpkg/status update
  download amd64 "$x86" /var/lib/dpkg/status --download-only --no-install-recommends --yes install qemu-user g++-aarch64-linux-gnu
  unpack amd64 "$tools"
  find "$tools/usr/bin" -name 'qemu-*' ! -name qemu-aarch64 -delete  # emulators of other processors
  touch "$tools/unpacked"
fi
if [ ! -e "$sysroot/unpacked" ]; then
  download arm64 "$arm64" /dev/null update
  download arm64 "$arm64" /dev/null --download-only --no-install-recommends --yes install python3 libstdc++6
  version=$(cd "$arm/apt-arm64/cache/archives" && ls python3.*-minimal_*.deb | sed 's/-.*//')
  download arm64 "$arm64" /dev/null download "lib$version-dev"
  unpack arm64 "$sysroot"
  [ -e "$sysroot/lib" ] || ln -s usr/lib "$sysroot/lib"
  echo "$version" >"$sysroot/unpacked"
fi
python=$(cat "$sysroot/unpacked")  # such as python3.11
version=${python#python}

if [ ! -e "$site/installed" ] || ! cmp -s pyproject.toml "$site/installed"; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet cmake ninja nanobind 'tomli; python_version < "3.11"'
  # Podium's dependencies and those of its tests.
  "$venv/bin/python" - >"$arm/requirements" <<'PYTHON'
try:
    import tomllib
except ImportError:
    import tomli as tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], "pytest", "hypothesis", sep="\n")
PYTHON
  rm -rf "$site"
  "$venv/bin/pip" install --quiet --target "$site" --only-binary=:all: --implementation cp --python-version "$version" \
    --abi "cp${version/./}" --abi abi3 --abi none --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
    --platform manylinux2014_aarch64 --platform any --requirement "$arm/requirements"
  cp pyproject.toml "$site/installed"
fi

export LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
"$venv/bin/cmake" -S . -B "$arm/build" -G Ninja -DCMAKE_MAKE_PROGRAM="$venv/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_SYSROOT="$tools" -DCMAKE_CXX_COMPILER="$tools/usr/bin/aarch64-linux-gnu-g++" \
  -DPython_EXECUTABLE="$venv/bin/python" -DPython_INCLUDE_DIR="$sysroot/usr/include/$python" -DCMAKE_CXX_FLAGS="-idirafter $sysroot/usr/include" >"$arm/cmake.log"
"$venv/bin/cmake" --build "$arm/build"
rm -rf "$site/podium"
cp --recursive --symbolic-link "$PWD/src/podium" "$site/podium"
cp "$arm/build/_native.abi3.so" "$site/podium/"

# emulate PROCESSOR ARGUMENT…: run Python on the emulated processor.
emulate() { PYTHONPATH=$site "$tools/usr/bin/qemu-aarch64" -L "$sysroot" -cpu "$1" "$sysroot/usr/bin/$python" "${@:2}"; }

# The scores of models of several families, exactly.
scores='
import podium
texts = ["a ripe red apple", "the sea at night", "a list of words " * 30]
for name in ("podium-mini", "tests/parity/modernbert", "tests/parity/electra", "tests/parity/deberta-v3"):
    for precision in ("float32", "int8"):
        scorer = podium.load(name, runtime="native", precision=precision).scorer
        print(name, precision, *(score.hex() for score in scorer.score("a red fruit", texts).raw))
'

# test_processor PROCESSOR KERNELS TEST…: test these kernels, which must be the first that podium selects on the processor.
test_processor() {
  export PODIUM_CACHE=$arm/cache-$1
  echo "== $1: $2"
  emulate "$1" -c "
from podium import _native
sets = _native.instruction_sets()
assert sets[0] == '$2', sets"
  emulate "$1" -c "$scores" | diff "$arm/scores" -
  emulate "$1" -m pytest -q -p no:cacheprovider "${@:3}"
}

"$python_x86" -c "$scores" >"$arm/scores"
echo "not run, because the emulator cannot start other programs: test_installation.py, test_native_forks.py, test_packed.py, test_wheels.py"
tests=tests/native
set -m  # the tests of this processor, which run beside the others, become a process group that can be ended
test_processor max neoni8mm $tests/test_{kernels,networks,disentangled,module,unigram,shared_work}.py >"$arm/max.log" 2>&1 &
max=$!
set +m
trap 'kill -- -$max 2>/dev/null || true' EXIT
for processor in cortex-a72:neon neoverse-n1:neondot; do
  kernels=${processor#*:}
  test_processor "${processor%:*}" "$kernels" $tests/test_{kernels,networks,disentangled}.py -k "$kernels or agree"
done
wait $max || { cat "$arm/max.log"; exit 1; }
cat "$arm/max.log"
rm -r "$arm"/cache-*
