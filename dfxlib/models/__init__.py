"""The networks of the paper, backbones by name, saved models, the reference's checkpoints."""
