"""From camera images to latents: image conversion and the encoder node."""
