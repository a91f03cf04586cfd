"""Models, loops and records of the DeepFeatureX study."""
