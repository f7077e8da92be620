"""What surrounds every request: request log, metrics, errors, rate limit, probes, client IP, policies, logins."""
