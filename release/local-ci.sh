#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds, tests and uploads this project on this machine, as its pipeline does.
#
# Usage: ./local-ci.sh VERB [OPTION…]
#   prepare   clone further repositories that the build needs
#   build     sdist and wheels, repaired and checked:  ./local-ci.sh build --python 3.14
#   test      test the installed wheels
#   deploy    upload, wait, install from the index:    ./local-ci.sh deploy --index testpypi --dry-run
#   clean     remove built files
#   all       prepare, build and test
# Options and exit codes: release.py --help. Settings: release.ini.
set -eu
cd "$(dirname "$0")"
verb=${1:-help}
[ $# -eq 0 ] || shift
case $verb in
  prepare | test | clean | all) set -- "$verb" "$@" ;;
  build) set -- build repair check "$@" ;;
  deploy) set -- publish wait verify "$@" ;;
  help | -h | --help) sed -n '5,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) echo "local-ci.sh: unknown verb '$verb'; expected prepare, build, test, deploy, clean or all" >&2; exit 2 ;;
esac
exec "${PYTHON:-python3}" -I ./release.py "$@"
