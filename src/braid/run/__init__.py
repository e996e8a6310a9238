"""The composition root: a recipe becomes sources, rows, model, plan and trainer here and nowhere else."""
