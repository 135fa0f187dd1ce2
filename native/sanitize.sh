#!/usr/bin/env bash
# Runs the tests of the native core under a sanitizer of the compiler's: address, undefined or thread.
#
#   native/sanitize.sh address        (make sanitize runs all three)
#
# Python itself is not instrumented, so what is found is in our code or in what it was given.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
here=.sanitize/$kind
if [ ! -e "$here/bin/podium" ]; then
  "${PYTHON:-python3}" -m venv "$here"
  "$here/bin/pip" install --quiet --upgrade 'pip>=25.1'
  "$here/bin/pip" install --quiet pytest hypothesis scipy
fi
"$here/bin/pip" install --quiet --config-settings=cmake.define.PODIUM_SANITIZE="$kind" .
case $kind in
  address) library=$(g++ -print-file-name=libasan.so) ;;
  undefined) library=$(g++ -print-file-name=libubsan.so) ;;
  thread) library=$(g++ -print-file-name=libtsan.so) ;;
esac
# Python frees little of what it has when it ends; that is not what is looked for.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=0:exitcode=66
# The C++ library must be there before the sanitizer looks for what throws exceptions.
export LD_PRELOAD="$library $(g++ -print-file-name=libstdc++.so)" PYTHONMALLOC=malloc
select=()
[ "$kind" = thread ] && select=(-k threads)
cd tests
exec setarch -R "../$here/bin/python" -m pytest -p no:cacheprovider -q -s -W ignore "${select[@]}" test_native.py
