# SPDX-License-Identifier: Apache-2.0
"""What `build_voices.py` measures of recordings of one speaker, and how it joins them."""
