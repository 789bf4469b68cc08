"""The `jepa` command: demo, evaluation, bags, benchmarks, and the nodes' bring-up."""
