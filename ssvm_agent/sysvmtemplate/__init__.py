# SPDX-License-Identifier: Apache-2.0
"""Install a system VM template on a secondary store, for operators."""
