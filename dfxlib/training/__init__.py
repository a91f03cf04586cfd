"""The loop, its states, features computed once, augmentation."""
