"""The pages that people see, and what they load."""
