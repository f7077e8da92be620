"""The read side: exact counts of the submission log, from rollups that folds keep up to date."""
