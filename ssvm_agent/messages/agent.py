# SPDX-License-Identifier: Apache-2.0
"""Life of the link: startup, ping, ready, health, maintenance, shutdown, server lists.

The meaning of every field is in agent-lifecycle.md 2 and 3.
"""

import msgspec

from ssvm_agent.messages.base import Answer, Command, Int, Message, SecretText, wire_class
from ssvm_agent.messages.names import HostTypeName


class StartupCommand(Command, kw_only=True, frozen=True):
    """What every agent tells of itself first (agent-lifecycle.md 2.3)."""

    type: HostTypeName | None = None
    data_center: str | None = None
    pod: str | None = None
    cluster: str | None = None
    guid: str | None = None
    name: str | None = None
    id: int | None = None
    version: str | None = None
    iqn: str | None = None
    public_ip_address: str | None = None
    public_netmask: str | None = None
    public_mac_address: str | None = None
    private_ip_address: str | None = None
    private_mac_address: str | None = None
    private_netmask: str | None = None
    storage_ip_address: str | None = None
    storage_netmask: str | None = None
    storage_mac_address: str | None = None
    storage_ip_address_deux: str | None = None
    storage_mac_address_deux: str | None = None
    storage_netmask_deux: str | None = None
    agent_tag: str | None = None
    resource_name: str | None = None
    gateway_ip_address: str | None = None
    ms_host_list: str | None = None
    connection_transferred: bool = False
    arch: str | None = None


@wire_class("com.cloud.agent.api.StartupSecondaryStorageCommand")
class StartupSecondaryStorageCommand(StartupCommand, kw_only=True, frozen=True):
    """The first request of an SSVM."""


@wire_class("com.cloud.agent.api.StartupAnswer")
class StartupAnswer(Answer, kw_only=True, frozen=True):
    """The management server's reply; ``host_id`` 0 means "not known yet" (agent-lifecycle 2.4)."""

    host_id: int = 0
    host_name: str | None = None
    host_uuid: str | None = None
    ping_interval: Int = 0
    """Seconds between pings."""


class CommandInfo(Message, kw_only=True, frozen=True):
    """A command the server wants reconciled; an SSVM has none."""

    request_seq: int = 0
    state: str | None = None
    start_time: str | None = None
    update_time: str | None = None
    command_name: str | None = None
    command: str | None = None
    timeout: Int = 0


@wire_class("com.cloud.agent.api.PingCommand")
class PingCommand(Command, kw_only=True, frozen=True):
    """Sign of life."""

    host_type: HostTypeName | None = None
    host_id: int = 0
    out_of_band: bool = False
    command_infos: list[CommandInfo] | None = msgspec.field(default_factory=list)


@wire_class("com.cloud.agent.api.PingStorageCommand")
class PingStorageCommand(PingCommand, kw_only=True, frozen=True):
    """Sign of life of an SSVM (agent-lifecycle.md 2.7)."""

    changes: dict[str, bool] | None = msgspec.field(default_factory=dict)


@wire_class("com.cloud.agent.api.PingAnswer")
class PingAnswer(Answer, kw_only=True, frozen=True):
    """Answer to a ping; it may ask for another Startup and names servers to avoid."""

    command: PingCommand | None = msgspec.field(default=None, name="_command")
    send_startup: bool = False
    avoid_ms_list: list[str] | None = None
    reconcile_commands: list[str] | None = None


@wire_class("com.cloud.agent.api.ReadyCommand")
class ReadyCommand(Command, kw_only=True, frozen=True):
    """The host is set up, or refused when ``details`` is there (agent-lifecycle.md 2.5, 5.1)."""

    details: str | None = msgspec.field(default=None, name="_details")
    dc_id: int | None = None
    host_id: int | None = None
    host_uuid: str | None = None
    host_name: str | None = None
    ms_host_list: list[str] | None = None
    avoid_ms_host_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None
    enable_human_readable_sizes: bool | None = None
    arch: str | None = None


@wire_class("com.cloud.agent.api.ReadyAnswer")
class ReadyAnswer(Answer, kw_only=True, frozen=True):
    """Answer to Ready."""

    details_map: dict[str, str] | None = None


@wire_class("com.cloud.agent.api.CheckHealthCommand")
class CheckHealthCommand(Command, kw_only=True, frozen=True):
    """Are you alive?"""

    wait: Int = 50


@wire_class("com.cloud.agent.api.CheckHealthAnswer")
class CheckHealthAnswer(Answer, kw_only=True, frozen=True):
    """Details ``resource is alive`` when all is well."""


@wire_class("com.cloud.agent.api.MaintainCommand")
class MaintainCommand(Command, kw_only=True, frozen=True):
    """Enter maintenance; nothing to do for an SSVM."""


@wire_class("com.cloud.agent.api.MaintainAnswer")
class MaintainAnswer(Answer, kw_only=True, frozen=True):
    """Answer to Maintain."""

    will_migrate: bool = True


@wire_class("com.cloud.agent.api.ShutdownCommand")
class ShutdownCommand(Command, kw_only=True, frozen=True):
    """From us: we are stopping. From the server: do not reconnect (agent-lifecycle.md 3.5)."""

    reason: str | None = None
    detail: str | None = None
    remove_host: bool = False


@wire_class("org.apache.cloudstack.agent.lb.SetupMSListCommand", bare=True)
class SetupMSListCommand(Command, kw_only=True, frozen=True):
    """The management servers to use, and how (agent-lifecycle.md 3.7)."""

    ms_list: list[str] | None = None
    avoid_ms_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None
    trigger_host_lb: bool | None = None


@wire_class("org.apache.cloudstack.agent.lb.SetupMSListAnswer", bare=True)
class SetupMSListAnswer(Answer, kw_only=True, frozen=True):
    """Answer to SetupMSList."""


@wire_class("com.cloud.agent.api.MigrateAgentConnectionCommand")
class MigrateAgentConnectionCommand(Command, kw_only=True, frozen=True):
    """Move to another management server."""

    ms_list: list[str] | None = None
    avoid_ms_list: list[str] | None = None
    lb_algorithm: str | None = None
    lb_check_interval: int | None = None


@wire_class("com.cloud.agent.api.MigrateAgentConnectionAnswer")
class MigrateAgentConnectionAnswer(Answer, kw_only=True, frozen=True):
    """Answer to MigrateAgentConnection."""


@wire_class("com.cloud.agent.api.AgentControlCommand")
class AgentControlCommand(Command, kw_only=True, frozen=True):
    """The control channel, which an SSVM does not use."""


@wire_class("com.cloud.agent.api.AgentControlAnswer")
class AgentControlAnswer(Answer, kw_only=True, frozen=True):
    """Answer on the control channel."""


@wire_class("com.cloud.agent.api.ConsoleAccessAuthenticationCommand")
class ConsoleAccessAuthenticationCommand(AgentControlCommand, kw_only=True, frozen=True):
    """A console proxy asks whether a viewer may connect."""

    host: str | None = msgspec.field(default=None, name="_host")
    port: str | None = msgspec.field(default=None, name="_port")
    vm_id: str | None = msgspec.field(default=None, name="_vmId")
    sid: SecretText | None = msgspec.field(default=None, name="_sid")
    ticket: SecretText | None = msgspec.field(default=None, name="_ticket")
    session_uuid: str | None = None
    client_address: str | None = None
    is_reauthenticating: bool = msgspec.field(default=False, name="_isReauthenticating")


@wire_class("com.cloud.agent.api.ConsoleProxyLoadReportCommand")
class ConsoleProxyLoadReportCommand(AgentControlCommand, kw_only=True, frozen=True):
    """A console proxy reports its load."""

    proxy_vm_id: int = msgspec.field(default=0, name="_proxyVmId")
    load_info: str | None = msgspec.field(default=None, name="_loadInfo")


class CronCommand(Command, kw_only=True, frozen=True):
    """The family of commands that repeat at an interval."""


@wire_class("com.cloud.agent.api.proxy.WatchConsoleProxyLoadCommand")
class WatchConsoleProxyLoadCommand(CronCommand, kw_only=True, frozen=True):
    """The one cron command there is; meant for console proxies."""

    proxy_vm_id: int = 0
    proxy_vm_name: str | None = None
    proxy_management_ip: str | None = None
    proxy_cmd_port: Int = 0
    interval: Int = 0


@wire_class("com.cloud.agent.api.CancelCommand")
class CancelCommand(Command, kw_only=True, frozen=True):
    """Between management servers only."""

    sequence: int = 0
    reason: str | None = None


@wire_class("com.cloud.agent.api.BadCommand")
class BadCommand(Command, kw_only=True, frozen=True):
    """What some implementations read in place of a class they do not know."""


@wire_class("com.cloud.agent.api.PingTestCommand")
class PingTestCommand(Command, kw_only=True, frozen=True):
    """Ping another machine; for hypervisor hosts."""

    computing_host_ip: str | None = msgspec.field(default=None, name="_computingHostIp")
    router_ip: str | None = msgspec.field(default=None, name="_routerIp")
    private_ip: str | None = msgspec.field(default=None, name="_privateIp")
