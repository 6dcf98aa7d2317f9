# SPDX-License-Identifier: Apache-2.0
"""The only place that starts programs, owns threads and reads the machine."""
