# SPDX-License-Identifier: Apache-2.0
"""Where settings come from, and which source wins.

Lowest first: defaults; what CloudStack says (boot text and agent.properties, whose order is per
key); the operator's agent.yaml; the command line. CloudStack's texts are taken leniently: a value
that makes no sense is reported as an oddity and the next source counts. In the operator's own words
an unknown key or a bad value is an error that says what to write instead (docs/adr/0040).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_origin

from ssvm_agent import bootargs
from ssvm_agent.config import convert
from ssvm_agent.config.declare import Leaf, build, leaves
from ssvm_agent.config.settings import ApplianceKind, Publisher, Settings
from ssvm_agent.config.state import read_persisted, read_properties
from ssvm_agent.errors import ConfigError

DEFAULT_BOOT_TEXT: Final = Path("/var/cache/cloud/cmdline")
DEFAULT_YAML: Final = Path("/etc/ssvm-agent/agent.yaml")
COMMAND_LINE: Final = "command line"
BOOT_TEXT: Final = "boot text"
AGENT_PROPERTIES: Final = "agent.properties"

_CLASS_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")
# The longest real text has 1.5 KiB (cmdlines.txt); more than this is some other file.
_MAX_TEXT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where to look.

    Attributes:
        boot_text: File with the boot text; need not exist.
        boot_words: More words of the boot text, from the command line of the unit.
        agent_properties: ``None``: ``agent.properties`` in the conf directory; need not exist.
        yaml: The operator's file; ``None``: the default place, where it need not exist.
        overrides: Dotted key to text, from the command line.
        host_name: Name of the machine, for when CloudStack gave none.
    """

    boot_text: Path | None = DEFAULT_BOOT_TEXT
    boot_words: tuple[str, ...] = ()
    agent_properties: Path | None = None
    yaml: Path | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    host_name: str = ""


class _Loader:
    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.leaves = {leaf.key: leaf for leaf in leaves(Settings)}
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.oddities: list[str] = []

    def load(self) -> Settings:
        own = self._read_own()
        conf_dir = own.get("conf_dir", (self.leaves["conf_dir"].default, ""))[0]
        boot = self._read_boot()
        path = self.sources.agent_properties or conf_dir / "agent.properties"
        entries = read_properties(path)
        for leaf in self.leaves.values():
            self._take_told(leaf, boot, entries)
        self._adapt_to_machine(boot, conf_dir, entries)
        for key, (value, origin) in own.items():
            self._set(key, value, origin)
        self._require()
        settings = build(
            Settings,
            {self.leaves[key].path: value for key, value in self.values.items()},
            sources=MappingProxyType(self.origins),
            oddities=tuple(self.oddities),
        )
        return _with_persisted(settings, entries)

    def _set(self, key: str, value: object, origin: str) -> None:
        self.values[key] = value
        self.origins[key] = origin

    def _read_boot(self) -> bootargs.BootArgs:
        text = ""
        if self.sources.boot_text is not None:
            text = _read_boot_text(self.sources.boot_text)
        boot = bootargs.parse(" ".join((text, *self.sources.boot_words)))
        self.oddities.extend(f"{BOOT_TEXT}: {oddity}" for oddity in boot.oddities)
        return boot

    def _take_told(self, leaf: Leaf, boot: bootargs.BootArgs, entries: Mapping[str, str]) -> None:
        candidates = [
            *_named(leaf.declaration.boot, boot.get, BOOT_TEXT),
            *_named(leaf.declaration.properties, _present(entries), AGENT_PROPERTIES),
        ]
        if leaf.declaration.properties_first:
            candidates.sort(key=lambda candidate: candidate[1] != AGENT_PROPERTIES)
        collects = get_origin(leaf.annotation) is tuple and len(leaf.declaration.boot) > 1
        collected: list[str] = []
        for name, origin, text in candidates:
            try:
                value = _convert_told(leaf, text)
            except convert.BadValueError as error:
                self.oddities.append(f"{origin}: {name} ignored: {error.message}")
                continue
            if not collects:
                self._set(leaf.key, value, f"{origin} ({name})")
                return
            if collected and not self.origins[leaf.key].startswith(origin):
                return
            collected.extend(value)
            self._set(leaf.key, tuple(collected), f"{origin} ({name})")

    def _adapt_to_machine(
        self, boot: bootargs.BootArgs, conf_dir: Path, entries: Mapping[str, str]
    ) -> None:
        """Defaults that differ inside a system VM, and the host name."""
        if "name" not in self.values and self.sources.host_name:
            self._set("name", self.sources.host_name, "host name")
        local = (boot.get("secondary.storage.vm") or "true").lower() != "true"
        if boot.get("type") != "secstorage" or local:
            return
        origin = f"{BOOT_TEXT} (type)"
        instance = boot.get("instance") or entries.get("instance") or "SecStorage"
        self._set("appliance", ApplianceKind.SYSTEM_VM, origin)
        self._set("publish", Publisher.APACHE, origin)
        self._set("log.file", Path("/var/log/cloud.log"), origin)
        # Compat: agent-lifecycle.md 2.1, the place scripts of a system VM know.
        if re.fullmatch(r"[\w-]+", instance):
            self._set("pid_file", conf_dir.parent / f"agent.{instance}.pid", origin)

    def _read_own(self) -> dict[str, tuple[Any, str]]:
        path = self.sources.yaml or DEFAULT_YAML
        found: dict[str, tuple[Any, str]] = {}
        for key, raw in _flatten(_read_yaml(path, required=self.sources.yaml is not None), ""):
            found[key] = (self._convert_own(key, raw, str(path)), str(path))
        for key, text in self.sources.overrides.items():
            found[key] = (self._convert_own(key, text, COMMAND_LINE), COMMAND_LINE)
        return found

    def _convert_own(self, key: str, raw: object, origin: str) -> Any:
        leaf = self.leaves.get(key)
        if leaf is None:
            raise ConfigError(f"{origin}: unknown key {key!r}{_suggestion(key, self.leaves)}")
        try:
            value = convert.convert(raw, leaf.annotation)
            return _checked(leaf, value)
        except convert.BadValueError as error:
            raise ConfigError(f"{origin}: {key}: {error.message}") from None

    def _require(self) -> None:
        for key in ("zone", "guid"):
            if not self.values.get(key):
                raise ConfigError(
                    f"{key} is not set: it comes with the boot text"
                    f" ({self.sources.boot_text or 'none given'}) or agent.properties;"
                    f" elsewhere set {key} in agent.yaml or with --set {key}=…"
                )
        if not self.values.get("management_servers", ("localhost",)):
            raise ConfigError("management_servers is empty: name at least one server")


def load(sources: Sources) -> Settings:
    """Settings from all sources (blocking: reads up to three files).

    Raises:
        ConfigError: A file cannot be read, the operator's words have an unknown key or a bad value,
            or a value the agent cannot do without is missing. The message says what to do.
    """
    return _Loader(sources).load()


def _named(names: tuple[str, ...], get: Any, origin: str) -> Iterator[tuple[str, str, str]]:
    for name in names:
        text = get(name)
        if text is not None:
            yield name, origin, text


def _present(entries: Mapping[str, str]) -> Any:
    return bootargs.BootArgs(values=entries).get


def _convert_told(leaf: Leaf, text: str) -> Any:
    """A value of CloudStack's texts; raises BadValueError when it makes no sense."""
    if leaf.key == "management_servers":
        return _servers(text)
    if leaf.key == "resource_class":
        text = _resource_class(text)
    return _checked(leaf, convert.convert(text, leaf.annotation))


def _checked(leaf: Leaf, value: Any) -> Any:
    complaint = leaf.declaration.check(value) if leaf.declaration.check else None
    if complaint:
        raise convert.BadValueError(complaint)
    return value


def _servers(text: str) -> tuple[str, ...]:
    """The comma list without its ``@algorithm`` (agent-lifecycle.md 1.2, ``host``)."""
    if text.startswith("@") and text.endswith("@"):
        raise ConfigError(
            f"host is {text!r}, a placeholder that was never filled in:"
            " name the management servers, separated by commas"
        )
    servers = tuple(name for word in text.partition("@")[0].split(",") if (name := word.strip()))
    if not servers:
        raise convert.BadValueError("names no server")
    return servers


def _resource_class(text: str) -> str:
    """The simple name of the last of several classes (agent-lifecycle.md 0 fact 9, 1.2)."""
    name = text.rpartition("|")[2].strip().rpartition(".")[2]
    if not _CLASS_NAME.match(name) or "SecondaryStorage" not in name:
        raise convert.BadValueError(f"{text!r} is not a secondary storage resource")
    return name


def _read_boot_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TEXT_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _read_yaml(path: Path, *, required: bool) -> object:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path} does not exist") from None
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    import yaml  # costs 15 ms, and most machines have no such file

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f", line {line + 1}" if line is not None else ""
        raise ConfigError(f"{path}{where}: not valid YAML") from None


def _flatten(tree: object, prefix: str) -> Iterator[tuple[str, object]]:
    if tree is None and not prefix:
        return
    if not isinstance(tree, dict):
        raise ConfigError("agent.yaml must be a mapping of keys to values")
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{key}.")
        elif value is not None:
            yield key, value


def _suggestion(key: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    last = {name.rpartition(".")[2]: name for name in known}
    close = get_close_matches(key, known, n=1) or [
        last[name] for name in get_close_matches(key.rpartition(".")[2], last, n=1)
    ]
    return f"; did you mean {close[0]!r}?" if close else "; see docs/configuration.md"


def _with_persisted(settings: Settings, entries: Mapping[str, str]) -> Settings:
    return replace(settings, persisted=read_persisted(entries, settings.resource_class))
