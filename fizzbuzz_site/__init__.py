"""How the service is configured and served."""

__version__ = "0.3.0.dev0"
