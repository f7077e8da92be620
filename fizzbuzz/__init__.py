"""What the service does: the rules, the submission log, its counts, the API and the pages."""
