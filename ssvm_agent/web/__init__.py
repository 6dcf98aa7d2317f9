# SPDX-License-Identifier: Apache-2.0
"""Every HTTP entrance: downloads, zone copies, uploads, status."""
