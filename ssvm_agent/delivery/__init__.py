# SPDX-License-Identifier: Apache-2.0
"""What operators bring to a system VM from outside: keys and the payload, over SSH."""
