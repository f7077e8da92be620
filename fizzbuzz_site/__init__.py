"""How the service is configured and served."""

__version__ = "0.2.0"
