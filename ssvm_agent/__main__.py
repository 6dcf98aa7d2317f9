# SPDX-License-Identifier: Apache-2.0
"""``python -m ssvm_agent`` is ``ssvm-agent``."""

from __future__ import annotations

import sys

from ssvm_agent.cli import main

sys.exit(main())
