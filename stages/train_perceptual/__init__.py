"""Train the small perceptual net without labels: which of two distorted copies is further from the original?"""
