# SPDX-License-Identifier: Apache-2.0
"""Which source of a setting wins, and what is refused (agent-lifecycle.md 1, docs/adr/0040)."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssvm_agent.config.load import Sources, load
from ssvm_agent.config.settings import ApplianceKind, Settings
from ssvm_agent.errors import ConfigError
from ssvm_agent.masking import Secret

_CMDLINES = Path(__file__).parents[2] / "data" / "cmdlines.txt"
_LINES = [line for line in _CMDLINES.read_text().splitlines() if not line.startswith("#")]
_MINIMUM = "zone=1 guid=s-1-VM"


class Machine:
    """The three files of a machine, below a temporary directory."""

    def __init__(self, root: Path) -> None:
        self.boot = root / "cmdline"
        self.conf = root / "systemvm" / "conf"
        self.conf.mkdir(parents=True)
        self.yaml = root / "agent.yaml"
        self.yaml.write_text("")

    def load(
        self,
        boot: str = _MINIMUM,
        properties: str = "",
        yaml: str = "",
        **overrides: str,
    ) -> Settings:
        self.boot.write_text(boot)
        (self.conf / "agent.properties").write_text(properties)
        self.yaml.write_text(yaml)
        own = {key.replace("__", "."): value for key, value in overrides.items()}
        return load(
            Sources(
                boot_text=self.boot,
                yaml=self.yaml,
                overrides={"conf_dir": str(self.conf)} | own,
                host_name="from-the-kernel",
            )
        )


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _source(settings: Settings, key: str) -> str:
    return next(row.source for row in settings.explain() if row.key == key)


@pytest.mark.parametrize("line", _LINES, ids=lambda line: line.split("guid=")[1].split()[0][:8])
def test_every_collected_boot_line_is_a_configuration(machine: Machine, line: str) -> None:
    settings = machine.load(line.replace("\\r", "\r"))
    assert settings.guid == settings.name
    assert settings.management_servers[0] == "10.1.32.5"
    assert settings.full_guid.endswith("SecondaryStorageResource")
    assert settings.appliance is ApplianceKind.SYSTEM_VM
    assert settings.pid_file == machine.conf.parent / "agent.SecStorage.pid"
    assert settings.networks.private_address.startswith("10.1.34.")


def test_a_full_boot_line_fills_the_networks(machine: Machine) -> None:
    networks = machine.load(_LINES[0]).networks
    assert networks.public_address == "203.0.113.21"
    assert networks.storage_gateway == "10.1.40.1"
    assert networks.internal_dns == ("10.1.32.2", "10.1.32.3")


def test_without_a_storage_network_the_management_network_serves(machine: Machine) -> None:
    """agent-lifecycle.md 1.2, storageip."""
    networks = machine.load(_LINES[1]).networks
    assert networks.storage_address == networks.private_address == "10.1.34.20"
    assert networks.storage_gateway == networks.local_gateway == "10.1.34.1"


def test_precedence_from_default_to_command_line(machine: Machine) -> None:
    told = _MINIMUM + " port=8251"
    assert machine.load().port == 8250
    assert machine.load(properties="port=8252").port == 8252
    assert machine.load(told, "port=8252").port == 8251
    assert machine.load(told, "port=8252", "port: 8253").port == 8253
    settings = machine.load(told, "port=8252", "port: 8253", port="8254")
    assert settings.port == 8254
    assert _source(settings, "port") == "command line"


def test_every_value_knows_its_source(machine: Machine) -> None:
    settings = machine.load(
        _MINIMUM + " threads=7", "host.lb.check.interval=9", "log: {level: debug}"
    )
    sources = {row.key: (row.value, row.source) for row in settings.explain()}
    assert sources["workers"] == ("7", "boot text (threads)")
    assert sources["link.preferred_host_check_s"] == (
        "9",
        "agent.properties (host.lb.check.interval)",
    )
    assert sources["log.level"] == ("debug", str(machine.yaml))
    assert sources["name"] == ("from-the-kernel", "host name")
    assert sources["mount_root"] == ("/mnt/SecStorage", "default")


def test_the_resource_of_agent_properties_beats_the_boot_text(machine: Machine) -> None:
    """agent-lifecycle.md 1.2: the file names the resource, or a known host is not found again."""
    boot = _MINIMUM + " resource=a.b.PremiumSecondaryStorageResource"
    assert machine.load(boot).resource_class == "PremiumSecondaryStorageResource"
    settings = machine.load(boot, "resource=x.Old|x.NfsSecondaryStorageResource")
    assert settings.full_guid == "s-1-VM-NfsSecondaryStorageResource"


def test_a_foreign_resource_in_agent_properties_is_passed_over(machine: Machine) -> None:
    boot = _MINIMUM + " resource=a.b.PremiumSecondaryStorageResource"
    settings = machine.load(boot, "resource=com.cloud.ConsoleProxyResource")
    assert settings.resource_class == "PremiumSecondaryStorageResource"
    assert settings.oddities == (
        (
            "agent.properties: resource ignored:"
            " 'com.cloud.ConsoleProxyResource' is not a secondary storage resource"
        ),
    )


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("10.1.32.5", ("10.1.32.5",)),
        ("10.1.32.5,10.1.32.6@roundrobin", ("10.1.32.5", "10.1.32.6")),
        ("ms1.example.org, 10.1.32.6 ,", ("ms1.example.org", "10.1.32.6")),
        ("null", ("localhost",)),
        ("@static", ("localhost",)),
    ],
)
def test_the_host_list(machine: Machine, text: str, servers: tuple[str, ...]) -> None:
    assert machine.load(properties=_MINIMUM.replace(" ", "\n") + f"\nhost={text}",
                        boot="").management_servers == servers  # fmt: skip


def test_a_host_placeholder_is_refused(machine: Machine) -> None:
    """agent-lifecycle.md 1.2, host."""
    with pytest.raises(ConfigError, match="a placeholder that was never filled in"):
        machine.load(_MINIMUM + " host=@HOST@")


@pytest.mark.parametrize("value", ["0", "-3", "many", "", "null"])
def test_a_senseless_number_from_cloudstack_falls_to_the_default(
    machine: Machine, value: str
) -> None:
    """agent-lifecycle.md 1.2, workers and port."""
    assert machine.load(f"{_MINIMUM} workers={value} port={value}").workers == 5


@pytest.mark.parametrize(
    ("value", "version"),
    [("3", "3"), ("4", "4"), ("4.0", "4.0"), ("4.1", "4.1"), ("4.2", "4.2"), ("", None),
     ("null", None), ("5", None)],
)  # fmt: skip
def test_nfs_versions(machine: Machine, value: str, version: str | None) -> None:
    """R11: the literal word null is no version."""
    assert machine.load(f"{_MINIMUM} nfsVersion={value}").nfs_version == version


@pytest.mark.parametrize("missing", ["zone", "guid"])
def test_what_the_agent_cannot_do_without_is_named(machine: Machine, missing: str) -> None:
    boot = " ".join(word for word in _MINIMUM.split() if not word.startswith(missing))
    with pytest.raises(ConfigError, match=f"^{missing} is not set: it comes with the boot text"):
        machine.load(boot)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("prot: 1", "unknown key 'prot'; did you mean 'port'?"),
        ("download: {retires: 1}", "'download.retires'; did you mean 'download.retries'?"),
        ("retries: 1", "unknown key 'retries'; did you mean 'download.retries'?"),
        ("xyzzy: 1", "unknown key 'xyzzy'; see docs/configuration.md"),
        ("download: 5", "unknown key 'download'"),
        ("port: {a: 1}", "unknown key 'port.a'"),
        ("port: many", "port: 'many' is not a whole number"),
        ("port: 99999", "port: must be a port, 1 to 65535"),
        ("port: [1]", "port: expected one whole number"),
        ("port: 1.5", "port: '1.5' is not a whole number"),
        ("workers: 0", "workers: must be more than 0"),
        ("stop_timeout_s: .inf", "stop_timeout_s: 'inf' is not a finite number"),
        ("log: {level: loud}", "log.level: must be one of debug, info, warning, error"),
        ("log: {journal: maybe}", "log.journal: 'maybe' is neither true nor false"),
        ("publish: nginx", "publish: 'nginx' is not one of builtin, apache"),
        ("mount_root: stores", "mount_root: must be an absolute path"),
        ("nfs_version: 5", "nfs_version: must be one of 3, 4, 4.0, 4.1, 4.2"),
        ("networks: {local_gateway: gw}", "networks.local_gateway: 'gw' is not an IPv4 address"),
        ("download: {allowed_internal_cidrs: [10.0.0.1/8]}", "is not a network like 10.0.0.0/8"),
        ("management_servers: [[a]]", "management_servers: expected a list of texts"),
        ("management_servers: []", "management_servers is empty"),
        ("- a", "agent.yaml must be a mapping"),
        ("a: [", "line 1: not valid YAML"),
        ("a: \0", "not valid YAML"),
    ],
)  # fmt: skip
def test_the_operators_mistakes_are_errors(machine: Machine, yaml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        machine.load(yaml=yaml)
    assert message in str(caught.value)


def test_the_operators_values_keep_their_types(machine: Machine) -> None:
    settings = machine.load(
        yaml="""
        management_servers: [a.example.org, 10.1.32.5]
        nfs_version: 4.1
        pid_file:
        download:
          proxy: http://user:pass@proxy:3128
          no_proxy: .example.org,10.0.0.0/8
          allow_loopback_sources: true
          min_speed_window_s: 5
        """
    )
    assert settings.management_servers == ("a.example.org", "10.1.32.5")
    assert settings.nfs_version == "4.1"
    assert settings.download.proxy == Secret("http://user:pass@proxy:3128")
    assert settings.download.no_proxy == (".example.org", "10.0.0.0/8")
    assert settings.download.allow_loopback_sources is True
    assert settings.download.min_speed_window_s == 5.0


def test_an_empty_override_unsets_an_optional_value(machine: Machine) -> None:
    assert machine.load(_LINES[0], pid_file="").pid_file is None


def test_secrets_stay_masked_in_the_explanation(machine: Machine) -> None:
    rows = machine.load(yaml="download: {proxy: 'http://u:geheim@p'}").explain()
    (row,) = [row for row in rows if row.key == "download.proxy"]
    assert (row.value, row.secret) == ("******", True)
    assert "geheim" not in repr(machine.load(yaml="download: {proxy: 'http://u:geheim@p'}"))


def test_what_earlier_runs_stored_is_read(machine: Machine) -> None:
    prefix = "NfsSecondaryStorageResource"
    settings = machine.load(
        properties=f"{prefix}.id=5\n{prefix}.uuid=u\n{prefix}.name=s-1-VM\nhost=a,b@static\n"
    )
    assert settings.persisted.host_id == 5
    assert settings.persisted.server_list == "a,b@static"
    assert _source(settings, "persisted.host_uuid") == "agent.properties"


def test_the_conf_directory_decides_which_agent_properties_is_read(tmp_path: Path) -> None:
    (tmp_path / "agent.properties").write_text("zone=2\nguid=g\n")
    yaml = tmp_path / "own.yaml"
    yaml.write_text(f"conf_dir: {tmp_path}\n")
    assert load(Sources(boot_text=None, yaml=yaml)).zone == "2"


def test_boot_words_of_the_command_line_beat_the_boot_file(machine: Machine) -> None:
    machine.boot.write_text("zone=1 guid=old")
    settings = load(Sources(boot_text=machine.boot, boot_words=("guid=new", "odd"),
                            overrides={"conf_dir": str(machine.conf)}))  # fmt: skip
    assert settings.guid == "new"


def test_a_missing_file_of_the_operators_choice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist"):
        load(Sources(yaml=tmp_path / "none.yaml"))


def test_an_unreadable_file_is_named(machine: Machine, tmp_path: Path) -> None:
    for sources in (Sources(boot_text=tmp_path), Sources(yaml=tmp_path),
                    Sources(agent_properties=tmp_path)):  # fmt: skip
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load(sources)


def test_a_vm_told_to_be_local_changes_nothing_on_the_machine(machine: Machine) -> None:
    """agent-lifecycle.md 1.2, secondary.storage.vm."""
    settings = machine.load(_LINES[0] + " secondary.storage.vm=false")
    assert settings.appliance is ApplianceKind.RECORDING


def test_an_instance_with_a_path_in_it_names_no_pid_file(machine: Machine) -> None:
    boot = _LINES[0].replace("instance=SecStorage", "instance=../../x")
    assert machine.load(boot).pid_file is None
