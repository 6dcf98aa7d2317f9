# SPDX-License-Identifier: Apache-2.0
"""Where the boot text comes from: platforms, channels, and whether a text is of this boot."""
