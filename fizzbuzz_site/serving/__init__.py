"""gunicorn's configuration and worker, timeouts of slow clients, the workers' metrics, the service log."""
