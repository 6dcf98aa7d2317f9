#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cleanup.sh FILE: remove an archive that get_diagnostics_files.py made, and nothing else; see
# docs/ssh-scripts.md.
if [ $# -ne 1 ]; then
    echo "usage: cleanup.sh FILE" >&2
    exit 2
fi
name=${1#/root/}
case $name in
    */*) name= ;;
    diagnostics_files_*.zip) ;;
    *) name= ;;
esac
if [ -z "$name" ] || [ "/root/$name" != "$1" ]; then
    echo "cleanup.sh: $1 is no diagnostics archive; nothing was removed" >&2
    exit 1
fi
if [ ! -e "$1" ]; then
    echo "File $1 not found in vm"
    exit 0
fi
rm -f -- "$1" && echo "Deleting diagnostics zip file $1"
