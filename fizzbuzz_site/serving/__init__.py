"""gunicorn's configuration and worker, the gate, timeouts of slow clients, the workers' metrics, the service log."""
