"""The wheel: continual fine-tuning, evaluation and model versions."""
