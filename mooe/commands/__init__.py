"""The verbs of the console script, and the groups of options that they share."""
