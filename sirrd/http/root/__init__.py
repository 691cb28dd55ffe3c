"""The paths of dead drops and org secrets, at the root."""
