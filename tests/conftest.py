"""What all tests share: which examples hypothesis draws."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run, so that a failure is about a change and not about luck. `make test-slow` draws new
# ones: `--hypothesis-profile=anew`.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("anew", deadline=None)
settings.load_profile("fixed")
