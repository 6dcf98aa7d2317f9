#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The system VM's check script, in its old place: /usr/local/cloud/systemvm/ssvm-check.sh.
# Prints and exits as it always did; "ssvm-check" without --compat tells more.
#
# SSVM_AGENT_HOME says where the agent is installed when its programs are not on PATH.
set -u

for program in \
    "${SSVM_AGENT_HOME:+$SSVM_AGENT_HOME/bin/ssvm-check}" \
    "$(command -v ssvm-check || true)" \
    /opt/ssvm-agent/current/bin/ssvm-check
do
    if [ -n "$program" ] && [ -x "$program" ]; then
        exec "$program" --compat "$@"
    fi
done
echo "ERROR: ssvm-check is not installed: the payload has not arrived, or was removed." >&2
exit 127
