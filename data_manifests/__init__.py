"""Descriptions of public data sets, the paper's inventory, published numbers."""
