#!/opt/ssvm-agent/current/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""Called over SSH by management servers; see docs/ssh-scripts.md."""

from ssvm_agent.diag.network_tools import main

raise SystemExit(main())
