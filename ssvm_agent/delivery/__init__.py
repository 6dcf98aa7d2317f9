# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates of system VMs: the scripts that others call over SSH, and new key pairs."""
