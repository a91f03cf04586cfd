"""Image files to manifest, splits and squares."""
