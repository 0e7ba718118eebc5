"""Rehearsal of a change of rules: the sign-ins of the last days are kept, and checked by the rules as they would be."""
