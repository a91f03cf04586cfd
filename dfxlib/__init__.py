"""Models, loops and records of the DeepFeatureX study."""

__version__ = "0.2.0"
