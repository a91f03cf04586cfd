"""Models, loops and records of the DeepFeatureX study."""

__version__ = "0.1.0"
