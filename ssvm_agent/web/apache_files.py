# SPDX-License-Identifier: Apache-2.0
"""The texts of the files Apache reads, as functions of what they must say. Pure.

Places and meaning are those the system VM has always had (boot-and-system.md 2.5, 2.6), so that an
administrator finds what he knows and an agent of another make finds what it left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssvm_agent.web import headers

MARK: Final = "# Written by ssvm-agent; changes are lost.\n"
"""First line of the files that are ours alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApacheLayout:
    """Where things are. The defaults are those of the system VM."""

    document_root: Path = Path("/var/www/html")
    conf_dir: Path = Path("/etc/apache2")
    log_dir: Path = Path("/var/log/apache2")
    mount_root: Path = Path("/mnt/SecStorage")
    key: Path = Path("/etc/ssl/private/cert_apache.key")
    certificate: Path = Path("/etc/ssl/certs/cert_apache.crt")
    chain: Path = Path("/etc/ssl/certs/cert_apache_chain.crt")

    @property
    def userdata(self) -> Path:
        """Extract links."""
        return self.document_root / "userdata"

    @property
    def copy(self) -> Path:
        """The zone-copy area."""
        return self.document_root / "copy"

    @property
    def password_file(self) -> Path:
        """The copy user's entry."""
        return self.conf_dir / ".htpasswd"

    def upload_include(self, *, https: bool) -> Path:
        """The include of the virtual host uploads come to."""
        return self.conf_dir / ("https.conf" if https else "http.conf")

    def site(self, address: str) -> Path:
        """The virtual hosts of the public address."""
        return self.conf_dir / "sites-enabled" / f"vhost-{address}.conf"


def no_listing() -> str:
    """``.htaccess`` of the document root."""
    return "Options -Indexes\n"


def userdata_access() -> str:
    """``.htaccess`` of the extract links: no listing, and files are saved, not shown."""
    return (
        "Options -Indexes +FollowSymLinks -MultiViews\n"
        "<IfModule mod_headers.c>\n"
        "    Header set Content-Disposition attachment\n"
        "    Header set X-Content-Type-Options nosniff\n"
        "</IfModule>\n"
    )


def upload_proxy(upload_port: int, *, https: bool) -> str:
    """The include that leads uploads to the agent (boot-and-system.md 2.6).

    Pre-flight and the plain GET of a user who checks the address go the same way, so that they are
    answered alike in both ways of publishing.
    """
    condition = "RewriteCond %{HTTPS} =on\n" if https else ""
    cors = "".join(
        f'Header onsuccess unset {name}\nHeader always set {name} "{value}"\n'
        for name, value in headers.CORS.items()
    )
    return (
        f"{MARK}"
        "RewriteEngine On\n"
        f"{condition}"
        "RewriteCond %{REQUEST_METHOD} ^(POST|OPTIONS|GET|HEAD)$\n"
        f"RewriteRule ^/upload/([^/]+)$ http://127.0.0.1:{upload_port}/upload?uuid=$1 [P,L]\n"
        f"{cors}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """With slow clients.

    Attributes:
        head_s: How long a request's head may take; twice as long while it goes on coming.
        body_s: How long a body may be silent, or wait for the agent, at its beginning.
    """

    head_s: int = 20
    body_s: int = 60


def virtual_hosts(
    layout: ApacheLayout,
    *,
    address: str,
    name: str,
    http_port: int,
    https_port: int,
    upload_https: bool,
    has_chain: bool,
    patience: Patience,
) -> str:
    """The two virtual hosts of the public address (boot-and-system.md 2.6)."""
    host = f"[{address}]" if ":" in address else address
    tree = (
        f'    DocumentRoot "{layout.document_root}"\n'
        f'    <Directory "{layout.document_root}">\n'
        "        Options -Indexes +FollowSymLinks\n"
        "        AllowOverride All\n"
        "        Require all granted\n"
        "    </Directory>\n"
        f'    ErrorLog "{layout.log_dir}/error.log"\n'
        "    LogLevel warn\n"
        "    ServerSignature Off\n"
        # A head that trickles in holds a worker no longer than this. A body also waits for the
        # store it goes to; every 500 bytes of it buy one more second.
        "    <IfModule mod_reqtimeout.c>\n"
        f"        RequestReadTimeout header={patience.head_s}-{2 * patience.head_s},MinRate=500"
        f" body={patience.body_s},MinRate=500\n"
        "    </IfModule>\n"
    )
    # In both hosts: pages of either scheme get to read refusals (R5).
    include = f'    Include "{layout.upload_include(https=upload_https)}"\n'
    chain = f'    SSLCertificateChainFile "{layout.chain}"\n' if has_chain else ""
    return (
        f"{MARK}"
        f"Listen {host}:{http_port}\n"
        f"Listen {host}:{https_port}\n"
        f"<VirtualHost {host}:{http_port}>\n"
        f"    ServerName {name or address}\n"
        f"{tree}"
        f'    CustomLog "{layout.log_dir}/access.log" combined\n'
        f"{include}"
        "</VirtualHost>\n"
        f"<VirtualHost {host}:{https_port}>\n"
        f"    ServerName {name or address}\n"
        f"{tree}"
        f'    CustomLog "{layout.log_dir}/ssl_access.log" combined\n'
        "    SSLEngine on\n"
        "    SSLProtocol -all +TLSv1.2 +TLSv1.3\n"
        "    SSLCipherSuite HIGH:!aNULL:!MD5:!3DES:!CAMELLIA\n"
        "    SSLHonorCipherOrder on\n"
        f'    SSLCertificateFile "{layout.certificate}"\n'
        f'    SSLCertificateKeyFile "{layout.key}"\n'
        f"{chain}"
        f"{include}"
        "</VirtualHost>\n"
    )
