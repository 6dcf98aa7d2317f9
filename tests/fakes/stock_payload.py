# SPDX-License-Identifier: Apache-2.0
"""The cloud's own payload in small, and what a system VM does with it (boot-and-system.md 4)."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Final

# The steps of a live patch, in the order of boot-and-system.md 4.5.
PATCH: Final = """\
#!/bin/bash
cache=/var/cache/cloud
home=/usr/local/cloud/systemvm
kept=$cache/bkpup_live_patch
log=/var/log/livepatchsystemvm.log
failed=0
mkdir -p $kept/conf
cp -r $home/conf/* $kept/conf
rm -rf $home
unzip -oq $cache/agent.zip -d $home >>$log 2>&1
find $home -name '*.sh' | xargs chmod 555
tar -xzf $cache/cloud-scripts.tgz -C / >>$log 2>&1
if [ -f $kept/conf/cloud.jks ]; then cp -r $kept/conf/* $home/conf/; fi
sha512sum $cache/cloud-scripts.tgz | cut -d' ' -f1 >$cache/cloud-scripts-signature
systemctl daemon-reload
for service in $(cat $cache/enabled_svcs); do
    systemctl is-active --quiet $service || continue
    systemctl restart $service
    systemctl is-active --quiet $service || failed=1
done
rm -rf $kept
mv $cache/cloud-scripts.tgz /usr/share/cloud/cloud-scripts.tgz
rm -f $cache/agent.zip $cache/patch-sysvms.sh
[ $failed = 1 ] || echo "version:$(cat $cache/cloud-scripts-signature) "
exit $failed
"""
# What the boot of a stock system VM does with a new payload (boot-and-system.md 4.3).
UNPACK: Final = """\
set -e
cache=/var/cache/cloud
home=/usr/local/cloud/systemvm
tar -xzf $cache/cloud-scripts.tgz -C /
rm -rf $home
unzip -oq $cache/agent.zip -d $home
sed -i '/instance=/d; /resource=/d' $home/conf/agent.properties
tr ' ' '\\n' <$cache/cmdline >>$home/conf/agent.properties
find $home -name '*.sh' | xargs chmod 555
chmod -x /etc/systemd/system/cloud*.service
sha512sum $cache/cloud-scripts.tgz | cut -d' ' -f1 >$cache/cloud-scripts-signature
rm -f $cache/agent.zip
mkdir -p /usr/share/cloud
mv $cache/cloud-scripts.tgz /usr/share/cloud/cloud-scripts.tgz
"""
IN_AGENT: Final = {
    "_run.sh": "#!/bin/sh\nexec sleep infinity\n",
    "ssvm-check.sh": "#!/bin/sh\n",
    "conf/agent.properties": "instance=ConsoleProxy\nresource=com.example.ConsoleProxyResource\n",
}
IN_SCRIPTS: Final = {
    "opt/cloud/bin/patched.sh": "#!/bin/sh\nls -lrt $1\n",
    "etc/systemd/system/cloud.service": (
        "[Unit]\nAfter=network.target\n[Service]\nType=simple\n"
        "WorkingDirectory=/usr/local/cloud/systemvm\nExecStart=/usr/local/cloud/systemvm/_run.sh\n"
        "Restart=on-failure\n[Install]\nWantedBy=multi-user.target\n"
    ),
}


def stock_payload(folder: Path) -> Path:
    """The three files, as they lie on a management server."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "agent.zip", "w", zipfile.ZIP_DEFLATED) as agent:
        for name, text in IN_AGENT.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o100555 << 16
            agent.writestr(member, text)
    with tarfile.open(folder / "cloud-scripts.tgz", "w:gz") as scripts:
        for name, text in IN_SCRIPTS.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(text), 0o755
            scripts.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("./root/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/opt/cloud"
        scripts.addfile(link)
    (folder / "patch-sysvms.sh").write_text(PATCH)
    return folder
