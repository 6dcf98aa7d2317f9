# SPDX-License-Identifier: Apache-2.0
"""Key and certificate of the agent itself (agent-lifecycle.md 4.4)."""

from typing import Annotated

from ssvm_agent.messages.base import Answer, Command, Int, Mark, SecretText, wire_class


@wire_class("org.apache.cloudstack.ca.SetupKeyStoreCommand", bare=True)
class SetupKeyStoreCommand(Command, kw_only=True, frozen=True):
    """Make a key pair and a signing request."""

    validity_days: Int = 0
    keystore_password: SecretText | None = None
    handle_by_agent: bool = False
    access_details: Annotated[dict[str, str] | None, Mark.SECRET] = None
    router_access_ip: str | None = None


@wire_class("org.apache.cloudstack.ca.SetupKeystoreAnswer", bare=True)
class SetupKeystoreAnswer(Answer, kw_only=True, frozen=True):
    """The signing request, PEM; the class name's lower-case s is right."""

    csr: str | None = None


@wire_class("org.apache.cloudstack.ca.SetupCertificateCommand", bare=True)
class SetupCertificateCommand(Command, kw_only=True, frozen=True):
    """Use this certificate; ``private_key`` is empty when it belongs to our signing request."""

    certificate: str | None = None
    private_key: SecretText | None = None
    ca_certificates: str | None = None
    handle_by_agent: bool = False
    access_details: Annotated[dict[str, str] | None, Mark.SECRET] = None
    router_access_ip: str | None = None


@wire_class("org.apache.cloudstack.ca.SetupCertificateAnswer", bare=True)
class SetupCertificateAnswer(Answer, kw_only=True, frozen=True):
    """Whether the certificate is in place."""
