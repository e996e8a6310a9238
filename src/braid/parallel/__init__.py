"""The processes of one run, and what they tell each other."""
