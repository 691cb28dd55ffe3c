"""Dead drops and org secrets: what can be done with them, and who may pass their locks."""
