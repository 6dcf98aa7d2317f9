# SPDX-License-Identifier: Apache-2.0
"""Formats of disk images and their safety; pure."""
