"""Text gets meaning: entities, relations, topics."""
