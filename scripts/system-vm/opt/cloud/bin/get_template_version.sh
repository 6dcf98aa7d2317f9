#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# get_template_version.sh: print RELEASE&SIGNATURE, as soon as the boot is done or a minute is over.
# Management servers split the line at "&" and need two parts, so neither is ever empty; see
# docs/ssh-scripts.md.

# The first line of a file without what would make a third part; a word when there is none.
part() {
    text=$(head -n 1 -- "$1" 2>/dev/null | tr -d '&\r')
    printf '%s' "${text:-$2}"
}

tries=120
while [ ! -e /var/cache/cloud/boot_up_done ] && [ "$tries" -gt 0 ]; do
    sleep 0.5
    tries=$((tries - 1))
done
release=$(part /etc/cloudstack-release unknown)
signature=$(part /var/cache/cloud/cloud-scripts-signature none)
printf '%s&%s\n' "$release" "$signature"
