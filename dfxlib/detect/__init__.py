"""A trained model as a folder; verdicts and their reasons."""
