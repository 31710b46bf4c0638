"""What the stages train on: frames, latents, batches."""
