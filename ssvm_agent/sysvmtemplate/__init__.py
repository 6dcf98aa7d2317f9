# SPDX-License-Identifier: Apache-2.0
"""Install a system VM template on secondary stores, for operators.

The command runs on a machine that has the stores mounted and reaches the database of the management
server; it needs no agent and knows nothing of the link
(docs/cloud-install-sys-tmplt.md).
"""
