//! Sampler networks: forward, loss, optimiser, checkpoints.
