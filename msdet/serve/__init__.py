# SPDX-License-Identifier: Apache-2.0
"""The local page: recordings and simulated rooms in, speakers to hear and directions out."""
