# SPDX-License-Identifier: Apache-2.0
"""From a request's content to its answers: registry, lanes, error boundary."""
