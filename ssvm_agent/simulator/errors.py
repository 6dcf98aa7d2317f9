# SPDX-License-Identifier: Apache-2.0
"""How something asked of the simulator can fail."""

from __future__ import annotations

from ssvm_agent.errors import AgentError


class SimulatorError(AgentError):
    """What was asked of the simulator did not happen."""

    code = "simulator"


class AgentGoneError(SimulatorError):
    """The agent is not connected, or stopped being so while an answer was awaited."""

    code = "agent_gone"


class NoAgentError(SimulatorError):
    """No agent is connected that could be asked."""

    code = "no_agent"


class ConnectFailedError(SimulatorError):
    """An agent's connect ended badly after it was let in: its host goes to Alert."""

    code = "connect_failed"


class AnswerTimeoutError(SimulatorError):
    """The agent did not answer within the time a server gives it."""

    code = "answer_timeout"


class UploadFailedError(SimulatorError):
    """An upload ended in an error; the message is what a CloudStack user would see."""

    code = "upload_failed"


class LinkRefusedError(SimulatorError):
    """A link to a file could not be made or withdrawn; the message is the agent's."""

    code = "link_refused"


class DownloadFailedError(SimulatorError):
    """A download ended in an error; the message is what a CloudStack user would see."""

    code = "download_failed"
