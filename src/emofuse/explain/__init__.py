"""What a model looks at: maps, attributions, gates, contributions, with numbers beside each."""
