# SPDX-License-Identifier: Apache-2.0
"""Settings: what they are, where each value came from, and what the agent itself remembers."""
