"""The write path: numbers become rows of the submission log."""
