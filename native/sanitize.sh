#!/usr/bin/env bash
# Runs the tests of the native core under one of the compiler's sanitizers: address, undefined or thread.
#
#   native/sanitize.sh address        (make sanitize runs all three)
#
# Python itself is not instrumented, so an error is in the native core or in the arguments of a call to it.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
venv=.sanitize/$kind
if [ ! -e "$venv/bin/podium" ]; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet --upgrade 'pip>=25.1'
  "$venv/bin/pip" install --quiet pytest hypothesis scipy
fi
"$venv/bin/pip" install --quiet --config-settings=cmake.define.PODIUM_SANITIZE="$kind" .
case $kind in
  address) library=$(g++ -print-file-name=libasan.so) ;;
  undefined) library=$(g++ -print-file-name=libubsan.so) ;;
  thread) library=$(g++ -print-file-name=libtsan.so) ;;
esac
# Python does not free all of its memory when it exits, so leaks are not reported.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=0:exitcode=66
# The C++ library must be loaded before the sanitizer looks up the functions that throw exceptions.
export LD_PRELOAD="$library $(g++ -print-file-name=libstdc++.so)" PYTHONMALLOC=malloc
select=()
[ "$kind" = thread ] && select=(-k "threads or shared")
# Address space randomisation is off (setarch -R) because ThreadSanitizer reserves fixed addresses.
exec setarch -R "$venv/bin/python" -m pytest -p no:cacheprovider -q -s -W ignore "${select[@]}" tests/native \
  tests/local/test_decoders.py tests/local/late/test_comparison.py
