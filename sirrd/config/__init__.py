"""The settings, read once at the start: flags over environment over `sirrd.toml` over defaults.

Every field of `Settings` is a setting: `SIRR_<NAME>` in the environment, the lower-case name in the file. No error and
no repr shows the value of a secret one.
"""
