# SPDX-License-Identifier: Apache-2.0
"""ssvm-agent: the software of an Apache CloudStack Secondary Storage VM."""

__version__ = "0.1.0"
