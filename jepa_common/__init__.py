"""What the nodes share: lifecycle, parameters, workers, diagnostics, and the messages' conversion."""
