# SPDX-License-Identifier: Apache-2.0
"""A management server in small, on the same protocol core."""
