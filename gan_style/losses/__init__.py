"""Loss functions: they return unweighted scalars; weights are applied where a method yields."""
