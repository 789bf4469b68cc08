"""Offline training: pretraining of an encoder, then action-conditioned post-training on the frozen encoder."""
