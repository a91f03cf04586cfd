"""One notebook run by papermill, one folder a run, the report."""
