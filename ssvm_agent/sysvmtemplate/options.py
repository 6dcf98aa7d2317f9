# SPDX-License-Identifier: Apache-2.0
"""The command line, read into a request (boot-and-system.md 6.1)."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from ssvm_agent import __version__
from ssvm_agent.errors import AgentError
from ssvm_agent.images.formats import ImageFormat
from ssvm_agent.ingest.checksum import ExpectedChecksum
from ssvm_agent.ingest.errors import BadUrlError, UnknownAlgorithmError
from ssvm_agent.masking import Secret
from ssvm_agent.sysvmtemplate.access import read_secret
from ssvm_agent.sysvmtemplate.equipment import http_url
from ssvm_agent.sysvmtemplate.hypervisors import EXTENSIONS, HYPERVISORS, Hypervisor
from ssvm_agent.sysvmtemplate.request import DatabaseRequest, Request

T = TypeVar("T")

_FROM_ENVIRONMENT: Final = "CLOUD_DB_PASSWORD"
DEFAULT_PROPERTIES: Final = Path("/etc/cloudstack/management/db.properties")
_DESCRIPTION: Final = """\
Installs a system VM template on mounted secondary stores, in the way a management server expects
it, and tells its database. Nothing that is there is touched before the new template is complete.
"""
_EPILOG: Final = f"""\
The password of the database is taken from -d, --db-password-file, --ask-password, the variable
{_FROM_ENVIRONMENT}, or db.properties, in this order. Other users of the machine can read what is
given with -d and -s while the command runs.

exit codes:
  0   installed                             7   no such template in the database
  2   wrong arguments                       8   the content is damaged, unsafe or another
  3   the source cannot be read             9   password or key of the database
  4   not enough space                      10  the store cannot be used
  5   a template is there already, no -F    11  another installation is under way
  6   the database fails                    128+n  ended by signal n
"""
_VALUE_LETTERS: Final = frozenset("mfuhtesoprd")
_CHECKSUM: Final = re.compile(r"([A-Za-z0-9_-]+):\s*([0-9A-Fa-f]+)")


class UsageError(AgentError):
    """The arguments make no sense."""

    code = "usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line.

    Attributes:
        request: What is asked for.
        as_json: Print the result as a JSON object.
        stock_exits: End with the codes of the stock script.
        verbose: Show log lines.
    """

    request: Request
    as_json: bool = False
    stock_exits: bool = False
    verbose: bool = False


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process, so that one place decides about exit codes."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def build_parser() -> argparse.ArgumentParser:
    """The parser; ``-h`` is the hypervisor here."""
    parser = _Parser(
        prog="cloud-install-sys-tmplt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what and where")
    what.add_argument(
        "-m", "--mount", action="append", type=_mount, metavar="DIR", required=True,
        help="mount point of secondary storage; may be given several times",
    )  # fmt: skip
    what.add_argument("-f", "--file", type=_file, metavar="FILE", help="the template as a file")
    what.add_argument("-u", "--url", type=_url, help="or its http or https URL")
    what.add_argument(
        "-h", "--hypervisor", type=_hypervisor, required=True, metavar="HYPERVISOR",
        help=", ".join(HYPERVISORS),
    )  # fmt: skip
    what.add_argument(
        "-t", "--template-id", type=_positive, metavar="ID",
        help="id of the template; without it, the newest of the hypervisor in the database",
    )  # fmt: skip
    what.add_argument(
        "-e", "--extension", choices=sorted(EXTENSIONS),
        help="with -t only: another format than the hypervisor's",
    )  # fmt: skip
    what.add_argument(
        "--checksum", type=_checksum, metavar="ALG:HEX", help="of the file before decompression"
    )
    what.add_argument(
        "-F", "--force", action="store_true",
        help="replace the template that is there, once the new one is complete",
    )  # fmt: skip
    _add_database_options(parser)
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true", help="check everything, change nothing")
    how.add_argument("--json", action="store_true", help="print the result as a JSON object")
    how.add_argument(
        "--compat-exit-codes", action="store_true",
        help="2 for nearly all errors, 4 for disk space, 0 for wrong arguments",
    )  # fmt: skip
    how.add_argument("-v", "--verbose", action="store_true", help="show log lines")
    how.add_argument("-M", action="store_true", dest="ignored", help="accepted and ignored")
    how.add_argument("--help", action="help", help="show this and end")
    how.add_argument(
        "--version", action="version", version=f"cloud-install-sys-tmplt {__version__}"
    )
    return parser


def _add_database_options(parser: argparse.ArgumentParser) -> None:
    database = parser.add_argument_group("database")
    database.add_argument("-o", "--db-host", metavar="HOST")
    database.add_argument("-p", "--db-port", type=_port, metavar="PORT")
    database.add_argument("-r", "--db-user", metavar="USER")
    database.add_argument("-d", "--db-password", type=Secret, metavar="PASSWORD")
    database.add_argument(
        "--db-password-file", type=Path, metavar="FILE", help="its first line is the password"
    )
    database.add_argument("--ask-password", action="store_true", help="ask for the password")
    database.add_argument("--db-name", metavar="NAME", help="default: cloud")
    database.add_argument("--db-socket", metavar="PATH", help="Unix socket, instead of host, port")
    database.add_argument(
        "--db-ca", type=Path, metavar="FILE", help="use TLS and verify the server with these"
    )
    database.add_argument(
        "--properties", type=Path, metavar="FILE", help=f"default: {DEFAULT_PROPERTIES}"
    )
    database.add_argument(
        "-s", "--key", type=Secret, metavar="KEY", help="decrypts ENC(...) in db.properties"
    )
    database.add_argument("--key-file", type=Path, metavar="FILE", help="its first line is the key")
    database.add_argument(
        "--no-database", action="store_true", help="leave the database alone; needs -t"
    )


def parse(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Options:
    """Read a command line (blocking: it may read secrets from files or ask for one).

    Raises:
        UsageError: It makes no sense.
        DatabaseAccessError: A file with a secret cannot be read.
        SystemExit: Help or version were asked for and printed.
    """
    environment = os.environ if environment is None else environment
    # Compat: boot-and-system.md 6.1: nothing is done without an option in front.
    if not words or not words[0].startswith("-"):
        raise UsageError("options are needed, and the first argument is none")
    given = build_parser().parse_args(_joined(words))
    if (given.file is None) == (given.url is None):
        raise UsageError("give the template either with -f or with -u")
    if given.no_database and given.template_id is None:
        raise UsageError("--no-database needs the id of the template: give it with -t")
    request = Request(
        mounts=tuple(dict.fromkeys(given.mount)),
        hypervisor=given.hypervisor,
        image_format=_format(given),
        file=given.file,
        url=given.url,
        template_id=given.template_id,
        force=given.force,
        checksum=given.checksum,
        dry_run=given.dry_run,
        database=None if given.no_database else _database(given, environment),
    )
    return Options(
        request=request,
        as_json=given.json,
        stock_exits=given.compat_exit_codes,
        verbose=given.verbose,
    )


def wants_stock_exits(words: Sequence[str]) -> bool:
    """Whether the codes of the stock script are asked for, also by a line that cannot be read."""
    return "--compat-exit-codes" in words


def _joined(words: Sequence[str]) -> list[str]:
    """The words, with values that begin with a dash joined to their option.

    ``-d -secret`` has a value for those who read options by getopt, as the stock script does.
    """
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        if len(word) == 2 and word[0] == "-" and word[1] in _VALUE_LETTERS:
            value = next(rest, None)
            if value is not None and value.startswith("-") and len(value) > 1:
                joined.append(word + value)
                continue
            joined.extend([word] if value is None else [word, value])
        else:
            joined.append(word)
    return joined


def _format(given: argparse.Namespace) -> ImageFormat:
    """The format: the hypervisor's, unless -t and -e say otherwise.

    Compat: boot-and-system.md 6.1: -e counts with -t only.
    Differs: boot-and-system.md 6.1; with -t and without -e it is the hypervisor's and not VHD.
    """
    hypervisor: Hypervisor = given.hypervisor
    if given.template_id is not None and given.extension is not None:
        return EXTENSIONS[given.extension]
    return hypervisor.image_format


def _database(given: argparse.Namespace, environment: Mapping[str, str]) -> DatabaseRequest:
    return DatabaseRequest(
        properties=given.properties or DEFAULT_PROPERTIES,
        properties_required=given.properties is not None,
        host=given.db_host,
        port=given.db_port,
        user=given.db_user,
        password=_password(given, environment),
        name=given.db_name,
        key=_key(given),
        socket=given.db_socket,
        ca_file=given.db_ca,
    )


def _password(given: argparse.Namespace, environment: Mapping[str, str]) -> Secret | None:
    if given.db_password is not None:
        password: Secret = given.db_password
        return password
    if given.db_password_file is not None:
        return read_secret(given.db_password_file, "password")
    if given.ask_password:
        return _asked()
    if _FROM_ENVIRONMENT in environment:
        return Secret(environment[_FROM_ENVIRONMENT])
    return None


def _asked() -> Secret:
    if not sys.stdin.isatty():
        raise UsageError("--ask-password needs a terminal; use --db-password-file")
    return Secret(getpass.getpass("Password of the database: "))


def _key(given: argparse.Namespace) -> Secret | None:
    if given.key is not None:
        key: Secret = given.key
        return key
    return None if given.key_file is None else read_secret(given.key_file, "key")


def _mount(text: str) -> Path:
    return Path(os.path.realpath(text))


def _file(text: str) -> Path:
    return Path(os.path.realpath(text))


def _url(text: str) -> str:
    return _checked(lambda: http_url(text).text, BadUrlError)


def _checksum(text: str) -> ExpectedChecksum:
    named = _CHECKSUM.fullmatch(text.strip())
    spelled = f"{{{named[1]}}}{named[2]}" if named else text
    return _checked(lambda: ExpectedChecksum.parse(spelled), UnknownAlgorithmError)


def _checked(read: Callable[[], T], refusal: type[AgentError]) -> T:
    try:
        return read()
    except refusal as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _hypervisor(text: str) -> Hypervisor:
    try:
        return HYPERVISORS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(
            f"{text[:32]!r} is none of {', '.join(HYPERVISORS)}"
        ) from None


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"{text[:32]!r} is no id")
    return int(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text[:32]!r} is no port")
    return int(text)
