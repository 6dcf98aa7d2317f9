#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# patched.sh PATH...: list files; succeeds when all of them exist. Called over SSH until the scripts
# of a starting machine are there; see docs/ssh-scripts.md.
if [ $# -eq 0 ]; then
    echo "usage: patched.sh PATH..." >&2
    exit 2
fi
# Unquoted: some callers hand a pattern over as it is.
# shellcheck disable=SC2048,SC2086
exec ls -ld -- $*
