"""``python -m featurekit_cli``."""

from .main import run

run()
