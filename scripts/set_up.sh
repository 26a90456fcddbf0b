#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install the project into .venv with the versions of constraints.txt; instant when that is done.
# usage: [CPU=1] scripts/set_up.sh EXTRAS     EXTRAS of pyproject.toml, such as metrics or metrics,test
# CPU=1 takes PyTorch without its GPU libraries.
set -eu
cd "$(dirname "$0")/.."
extras=$1
venv_python=.venv/bin/python
started=.venv/.installing  # there while pip works: what it leaves when it is killed is not to be trusted
finished=.venv/.installed  # "KEY EXTRAS" of what is installed

say() { printf '%s\n' "set-up: $*" >&2; }
fail() { say "$*"; exit 1; }

# What the installation depends on; the folder too, since paths are written into it.
key=$({ pwd; cat pyproject.toml constraints.txt; } | cksum | tr ' ' -)
done=$(cat "$finished" 2>/dev/null || true)
case "$done" in
  "$key "*) case ",${done#* }," in *",$extras,"*) "$venv_python" -c '' 2>/dev/null && exit ;; esac ;;
esac

find_python() {  # PYTHON, else python3, else a named version
  for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      return
    fi
  done
  found=$("${PYTHON:-python3}" --version 2>&1) || found="nothing that runs"
  fail "Python 3.11 or newer is needed, ${PYTHON:-python3} is $found; install one, or name it: make ... PYTHON=/path/to/python3"
}

if [ -e "$started" ] || ! "$venv_python" -m pip --version >/dev/null 2>&1; then
  find_python
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python lacks the modules venv and ensurepip; on Debian or Ubuntu: apt install python3-venv"
  [ ! -e .venv ] || say "the .venv that is here is unfinished or broken; making it again"
  rm -rf .venv
  mkdir .venv
  : >"$started"
  "$python" -m venv .venv
fi
"$venv_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail ".venv holds $("$venv_python" --version), 3.11 or newer is needed: remove .venv"

if [ -n "${CPU:-}" ]; then  # of two wheels of one version, pip takes the one with a local version: +cpu
  PIP_EXTRA_INDEX_URL="https://download.pytorch.org/whl/cpu${PIP_EXTRA_INDEX_URL:+ $PIP_EXTRA_INDEX_URL}"
  export PIP_EXTRA_INDEX_URL
  say "installing into .venv, for the CPU alone"
else
  say "installing into .venv (several GB on Linux, where torch brings its GPU libraries; not with CPU=1)"
fi
: >"$started"
rm -f "$finished"
# Build tools are pinned too: older versions of pip read the first, newer ones the second. As an address,
# because builds run in other folders and because a path with a space would be taken for two.
PIP_CONSTRAINT=$("$venv_python" -c 'from pathlib import Path; print(Path("constraints.txt").resolve().as_uri())')
PIP_BUILD_CONSTRAINT=$PIP_CONSTRAINT
export PIP_CONSTRAINT PIP_BUILD_CONSTRAINT PIP_USE_PEP517=1 PIP_DISABLE_PIP_VERSION_CHECK=1
quiet=--quiet
if [ -t 1 ]; then quiet=; fi  # a person may want to see that it goes on
install() { "$venv_python" -m pip install $quiet -c constraints.txt "$@"; }

# PESQ comes as C source. Without a compiler everything works but that score.
wanted=".[$extras]"
if ! install pesq >.venv/pesq.log 2>&1; then
  say "PESQ could not be built (see .venv/pesq.log) and will not be scored. It needs a C compiler and"
  say "Python's headers (Debian: apt install gcc python3-dev); afterwards remove .venv/.installed"
  other=$(printf %s ",$extras," | sed 's/,metrics,/,/; s/^,//; s/,$//')
  wanted=".${other:+[$other]} pystoi fast-bss-eval"
fi
# shellcheck disable=SC2086  # two words
install --editable $wanted || {
  rm "$started"  # pip stopped by itself and leaves things whole
  fail "the installation failed, see above"
}
printf '%s %s\n' "$key" "$extras" >"$finished"
rm "$started"
