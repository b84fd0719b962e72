"""``python -m featurekit_cli``."""

from .start import run

run()
