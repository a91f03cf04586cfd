"""The demonstration set: small, synthetic, rendered on the spot."""
